"""Libraries that omnikit uses where they are installed: asked for when they are needed, named when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from omnikit.errors import OmnikitError, missing_library


def extra(module: str, name: str, wanted_by: str) -> ModuleType:
    """The library `module`, which the extra `name` of the distribution installs.

    Raises `OmnikitError` saying who wants it and how it is installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_library(wanted_by, module, name) from error
    except ImportError as error:
        raise OmnikitError(f"{wanted_by} needs {module}, which is installed and does not load: {error}") from error
