"""Errors that a user can act on: what was given, what is accepted, the closest fix."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class OmnikitError(ValueError):
    """Base of every error that bad input causes; the command line prints it and exits with code 2."""


class UnknownName(OmnikitError):
    """A name that is not among the accepted ones: component, parameter, style, file of a corpus …"""


class ContractError(OmnikitError):
    """Two ends of a wire that cannot agree."""


class MediaError(OmnikitError):
    """An audio or image file (or array) that cannot be used."""


class DataError(OmnikitError):
    """A record of a corpus that breaks the schema or points to something unusable."""


class WeightsError(OmnikitError):
    """Weights that do not belong to the component they were given to."""


def closest(name: str, accepted: Iterable[str]) -> str | None:
    """The accepted name that looks most like `name`, or None when nothing comes near."""
    names = [str(item) for item in accepted]
    matches = get_close_matches(str(name), names, n=1, cutoff=0.5)
    if matches:
        return matches[0]
    inside = [item for item in names if str(name) in item or item in str(name)]
    return inside[0] if inside else None


def unknown_name(kind: str, name: str, accepted: Iterable[str], hint: str = "") -> UnknownName:
    """An `UnknownName` that lists what exists and proposes the nearest spelling."""
    names = sorted(str(item) for item in accepted)
    near = closest(name, names)
    lines = [f"Unknown {kind} '{name}'."]
    lines.append(f"Accepted: {', '.join(names) if names else 'none'}.")
    if near:
        lines.append(f"Did you mean '{near}'?")
    if hint:
        lines.append(hint)
    return UnknownName("\n".join(lines))
