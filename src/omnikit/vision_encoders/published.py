"""Published vision towers, from the hub or a folder: their configuration, their tensors, and what does not fit.

transformers is imported inside the functions, as it takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from omnikit.errors import OmnikitError, WeightsError

NONE = "none"
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def read_config(source: str) -> dict[str, Any]:
    """The configuration of a vision tower, taken out of that of the whole model where it stands in one."""
    try:
        config = json.loads(_file(source, "config.json").read_text())
    except (OSError, ValueError) as error:
        raise not_loaded(source, error) from error
    return config.get("vision_config") or config


def check_sizes(component: str, source: str, given: Mapping[str, int], found: Mapping[str, Any]) -> None:
    """Raise `OmnikitError` where parameters that the contract is made of are not what `source` has."""
    other = {name: found[name] for name, value in given.items() if found[name] != value}
    if other:
        here = ", ".join(f"{name} {given[name]}" for name in other)
        there = ", ".join(f"{name}={value}" for name, value in other.items())
        raise OmnikitError(f"{component}: {source} does not have {here}.\nSet {there}.")


def has_weights(source: str) -> bool:
    """Whether weights are to be loaded: a folder without weight files gives the architecture alone."""
    folder = Path(source)
    return not folder.is_dir() or any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))


def read_tensors(source: str, prefixes: Sequence[str]) -> dict[str, Tensor]:
    """The tensors below the longest of `prefixes` that occurs, without it; other parts of the model are not fetched.

    Raises `OmnikitError` for a source that cannot be had, `WeightsError` for files that cannot be read.
    """
    try:
        if _has(source, _INDEX):
            places: dict[str, str] = json.loads(_file(source, _INDEX).read_text())["weight_map"]
        else:
            with safe_open(_file(source, _WHOLE), framework="pt") as file:
                places = dict.fromkeys(file.keys(), _WHOLE)
        prefix = max((item for item in prefixes if any(name.startswith(item) for name in places)), key=len, default="")
        tensors = {}
        wanted = {name: place for name, place in places.items() if name.startswith(prefix)}
        for shard in sorted(set(wanted.values())):
            with safe_open(_file(source, shard), framework="pt") as file:
                names = [name for name, place in wanted.items() if place == shard]
                tensors.update({name.removeprefix(prefix): file.get_tensor(name) for name in names})
        return tensors
    except SafetensorError as error:
        raise WeightsError(f"The weights of '{source}' are no readable safetensors: {error}.") from error
    except (OSError, ValueError, KeyError) as error:
        raise not_loaded(source, error) from error


def fill(net: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy `state` into `net`, whole. Raises `WeightsError` naming the tensors that do not fit."""
    own = net.state_dict()
    problems = [f"missing {name}" for name in own if name not in state]
    problems += [f"unknown {name}" for name in state if name not in own]
    problems += [
        f"{name} is {list(state[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        more = f"\n  … and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise WeightsError(f"'{source}' does not fit this encoder:\n  " + "\n  ".join(problems[:4]) + more)
    net.load_state_dict({name: state[name].to(tensor.dtype) for name, tensor in own.items()})


def from_transformers(cls: Any, source: str, config: Any) -> nn.Module:
    """A model of transformers in float32 from `source`. Raises `WeightsError` where tensors of it are not there."""
    import torch

    if not has_weights(source):
        return cls(config)
    try:
        net, report = cls.from_pretrained(source, config=config, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise not_loaded(source, error) from error
    except RuntimeError as error:  # tensors of other shapes
        raise WeightsError(f"The weights of '{source}' are not those of a {cls.__name__}.") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise WeightsError(f"'{source}' lacks {len(missing)} tensors of a {cls.__name__}: {', '.join(missing[:4])} …")
    return net


def not_loaded(source: str, error: Exception) -> OmnikitError:
    """The error for a published model that cannot be had."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return OmnikitError(
        f"The published model '{source}' could not be loaded: {reason}\nCheck its name or folder, and the network."
    )


def _file(source: str, name: str) -> Path:
    from transformers.utils import cached_file

    return Path(cached_file(source, name))


def _has(source: str, name: str) -> bool:
    from transformers.utils import has_file

    return (Path(source) / name).is_file() if Path(source).is_dir() else has_file(source, name)
