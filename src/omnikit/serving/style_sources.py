"""A style as people write it on a command line: labels, a recording, a style file, or words; and their mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omnikit.errors import OmnikitError
from omnikit.nn.style_mixing import mix_styles, shares
from omnikit.serving.style_files import SUFFIX, read_one_style
from omnikit.slots.style_factors import parse_labels
from omnikit.system import System
from omnikit.types import Style

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Ingredient:
    """What goes into a mixture, as it was written, and its weight."""

    source: str
    weight: float


def parse_ingredient(text: str) -> Ingredient:
    """`emotion=sad:0.3` or `voice.wav:2`; without a weight it is 1. Raises `OmnikitError` for an empty one."""
    source, colon, tail = text.rpartition(":")
    weight = _number(tail) if colon else None
    if weight is None:
        source, weight = text, 1.0
    if not source.strip():
        raise OmnikitError(f"'{text}' names no style. Write SOURCE:WEIGHT, e.g. emotion=sad:0.3 or voice.wav:0.7")
    return Ingredient(source.strip(), weight)


def style_from(system: System, source: str) -> Style:
    """The style that a source names: a .safetensors file, a sound file, factor=value pairs, or words.

    Raises `OmnikitError` as the part that reads it does.
    """
    suffix = Path(source).suffix.lower()
    if suffix == SUFFIX:
        return read_one_style(Path(source))
    if suffix in SOUND_SUFFIXES:
        return system.style_of(reference=source)
    if "=" in source:
        return system.style_of(parse_labels(source))
    return system.style_of(description=source)


def mixed(system: System, ingredients: Sequence[Ingredient]) -> tuple[Style, list[float]]:
    """The mixture of several sources, and the share of each.

    Raises `OmnikitError` for sources without a vector, of two spaces, or for weights that say nothing.
    """
    weights = [item.weight for item in ingredients]
    share = shares(weights)
    return mix_styles([style_from(system, item.source) for item in ingredients], weights), share


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
