"""Errors that a user can act on: what was given, what is accepted, the closest fix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

EXTRA_OF = {
    **dict.fromkeys(("hydra", "omegaconf", "lightning", "timm", "transformers", "tokenizers", "torchvision"), "train"),
    **dict.fromkeys(("PIL", "espeakng_loader", "jsonschema", "parselmouth", "rapidfuzz", "scipy"), "train"),
    **dict.fromkeys(("matplotlib", "rich"), "train"),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "onnx"),
    **dict.fromkeys(("joblib", "submitit"), "cluster"),
    "deepspeed": "deepspeed",
    "huggingface_hub": "hub",
    "peft": "lora",
    "pyarrow": "shards",
}
"""Modules that not every installation has, and the extra of the distribution that brings each."""


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


def missing_library(wanted_by: str, library: str, extra: str) -> OmnikitError:
    """An error that says who needs a library and how it is installed."""
    return OmnikitError(f"{wanted_by} needs {library}: pip install 'omnikit-core[{extra}]'")


@contextmanager
def naming_extras(wanted_by: str) -> Iterator[None]:
    """Inside, a library that an extra would have installed is missed by an `OmnikitError` that names both."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRA_OF:
            raise
        raise missing_library(wanted_by, library, EXTRA_OF[library]) from error
