"""omnikit: build, swap and ablate the parts of an omni-modal model that sees, hears, and speaks with style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnikit import _torch_stack
from omnikit.contracts import DERIVED, AudioPort, Contract, FramesPort, ImagePort, StylePort, UnitsPort
from omnikit.errors import OmnikitError
from omnikit.registry import available, create, describe, register
from omnikit.types import Audio, Dialogue, Frames, Images, Message, SpokenTurn, Style, Units

if TYPE_CHECKING:
    from omnikit.artefacts import load
    from omnikit.system import System

_torch_stack.install()

__version__ = "0.1.0"
__all__ = [
    "DERIVED",
    "Audio",
    "AudioPort",
    "Contract",
    "Dialogue",
    "Frames",
    "FramesPort",
    "ImagePort",
    "Images",
    "Message",
    "OmnikitError",
    "SpokenTurn",
    "Style",
    "StylePort",
    "System",
    "Units",
    "UnitsPort",
    "available",
    "create",
    "describe",
    "load",
    "register",
]
_LAZY = {"System": "omnikit.system", "load": "omnikit.artefacts"}


def __getattr__(name: str) -> Any:
    """Names that need torch are imported on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'omnikit' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
