"""Weight files as plain tensors: `.safetensors`, `.ckpt`, `.pth`, `.pt`, `.bin`, alone or in shards with an index.

Nothing that a file holds is ever run.

Trainers leave objects of their own beside the weights (Lightning keyed callbacks by class). Those become inert
stand-ins that are thrown away; no name from a file is ever imported or called.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from omnikit.artefacts import read_checkpoint
from omnikit.errors import WeightsError

PICKLED = (".ckpt", ".pth", ".pt", ".bin")
SUFFIXES = (".safetensors", *PICKLED)
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_CONTAINERS = ("state_dict", "model", "module", "generator")


def is_weight_file(path: Path) -> bool:
    """Whether `path` ends as a file of weights does."""
    return path.suffix.lower() in SUFFIXES


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a folder of weights as others publish them: one file of weights, or shards with an index."""
    return path.is_dir() and any((path / name).is_file() for name in (*_INDICES, *_WHOLE))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file, or of a folder of them, by name, out of whatever container the training wrote.

    Raises `WeightsError` for a file that does not exist, is broken, holds no tensors, or needs code to be read.
    """
    if is_checkpoint(path):
        return _read_folder(path)
    if not is_weight_file(path):
        raise WeightsError(f"{path} is no file of weights; accepted are files that end in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise WeightsError(f"The file of weights {path} does not exist.")
    content = _read_pickle(path) if path.suffix.lower() in PICKLED else _read_safetensors(path)
    tensors = _tensors_in(content)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name, neither plainly nor under {', '.join(_CONTAINERS)}.")
    return tensors


def _read_folder(folder: Path) -> dict[str, Tensor]:
    index = next((folder / name for name in _INDICES if (folder / name).is_file()), None)
    if index is None:
        return read_tensors(next(folder / name for name in _WHOLE if (folder / name).is_file()))
    try:
        places = {str(name): str(shard) for name, shard in json.loads(index.read_text())["weight_map"].items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{index} is no index of shards ({type(error).__name__}: {error}).") from error
    strange = sorted({shard for shard in places.values() if Path(shard).name != shard})
    missing = sorted({shard for shard in places.values() if not (folder / shard).is_file()})
    if strange or missing:
        what = f"names {strange[0]}, which is no file beside it" if strange else f"needs {', '.join(missing[:4])}"
        raise WeightsError(f"{index} {what}.\nGet every shard of the checkpoint, whole, into {folder}.")
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        tensors |= read_tensors(folder / shard)
    problems = [f"missing {name} (in {shard}, says the index)" for name, shard in places.items() if name not in tensors]
    problems += [f"unknown {name} (not in the index)" for name in tensors if name not in places]
    if problems:
        more = f" … and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise WeightsError(f"{index} and its shards do not agree:\n  " + "\n  ".join(problems[:5]) + more)
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file: {error}.") from error


class _Inert:
    """Stands where a checkpoint names a class that is no data: takes whatever it is given and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Ignore what the original class would have been made of."""

    def __setstate__(self, state: Any) -> None:
        """Ignore what the original object held."""


def _read_pickle(path: Path) -> Any:
    """The content of a pickled checkpoint; what is no data in it (callbacks, settings of a trainer) is left out."""
    try:
        try:
            return read_checkpoint(path)
        except pickle.UnpicklingError:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            with torch.serialization.safe_globals([(_Inert, name) for name in names]):
                return read_checkpoint(path)
    except Exception as error:  # a broken pickle raises errors of many classes
        said = [line.strip() for line in str(error).splitlines() if line.strip() and "weights_only" not in line]
        reason = said[-1] if said else type(error).__name__
        raise WeightsError(
            f"{path} cannot be read as plain tensors: it is broken or needs code to be opened.\n"
            f"The reader says: {reason[:160]}\n"
            "omnikit never runs code from a file. Where you trust it, save its state_dict as safetensors\n"
            "in the environment that wrote it, and load that."
        ) from error


def _tensors_in(content: Any) -> dict[str, Tensor]:
    """The first mapping of names to tensors: the content itself, or one of the usual containers inside it."""
    if not isinstance(content, Mapping):
        return {}
    for container in _CONTAINERS:
        if isinstance(content.get(container), Mapping):
            return _tensors_in(content[container])
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
