"""SpeechBrain's checkpoints as tensors: fetched from the hub or read from a file, never executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from torch import Tensor

from omnikit.errors import WeightsError

_NORMALISED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""What torch called the parts of a normalised weight, and calls them today."""


def download(source: str, name: str) -> Path:
    """A file of a Hugging Face repository. Raises `WeightsError` without a network, or where it is not there."""
    try:
        return Path(hf_hub_download(source, name))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{source}/{name} cannot be fetched: {str(error).splitlines()[0]}\n"
            "Without a network, give a copy: omnikit-speechbrain PART --checkpoint FILE --out FOLDER"
        ) from error


def read_checkpoint(path: Path, network: str, needed: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint of `network` by name, normalised weights under the names of today's torch.

    Raises `WeightsError` for a file that is none, or that lacks one of the tensors `needed`.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"The checkpoint {path} does not exist.") from error
    except Exception as error:  # a broken file may raise nearly anything
        raise WeightsError(f"{path} is no checkpoint of tensors ({type(error).__name__}).") from error
    if not isinstance(stored, dict) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise WeightsError(f"{path} is no checkpoint of SpeechBrain's {network}: it holds no tensors by name.")
    named = {_today(name): value for name, value in stored.items()}
    missing = [name for name in needed if name not in named]
    if missing:
        raise WeightsError(f"{path} is no checkpoint of SpeechBrain's {network}: it lacks {' and '.join(missing)}.")
    return named


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as those of the part `prefix`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _today(name: str) -> str:
    head, _, tail = name.rpartition(".")
    return f"{head}.{_NORMALISED[tail]}" if tail in _NORMALISED else name
