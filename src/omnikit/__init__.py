"""omnikit: build, swap and ablate the parts of an omni-modal model that sees, hears, and speaks with style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnikit import _torch_stack
from omnikit.contracts import DERIVED, AudioPort, Contract, FramesPort, ImagePort, StylePort, UnitsPort
from omnikit.errors import OmnikitError
from omnikit.registry import available, create, describe, register
from omnikit.types import Audio, Dialogue, Frames, Images, Message, SpokenTurn, Style, Units

if TYPE_CHECKING:
    from omnikit.system import System, load

_torch_stack.install()

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
_LAZY = ("System", "load")


def __getattr__(name: str) -> Any:
    """What needs torch, or a look into the installed metadata, is found on first use."""
    if name == "__version__":
        from importlib import metadata

        return metadata.version("omnikit-core")
    if name not in _LAZY:
        raise AttributeError(f"module 'omnikit' has no attribute '{name}'")
    from omnikit import system

    return getattr(system, name)
