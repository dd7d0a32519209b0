"""Styles on disk: one safetensors file holds vectors, and in its header, as JSON, the space they belong to.

Tensors: `vectors` [N, D] float32 and `counts` [N] int64, the recordings behind each (0: predicted or mixed).
Header entry `omnikit.style`: {"space_id": …, "labels": [one mapping a vector, or none], "factors": …, "scales": …}.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from omnikit.errors import WeightsError
from omnikit.registry import create
from omnikit.slots.style import StyleModule
from omnikit.types import Style

SUFFIX = ".safetensors"
_HEADER = "omnikit.style"


@dataclass(frozen=True)
class StyleFile:
    """Styles of one space; `counts` [N] recordings stand behind each. `factors` and `scales` where it is a table."""

    style: Style
    counts: Tensor
    factors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scales: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def write_styles(path: Path, styles: StyleFile) -> None:
    """Write styles whole or not at all. Raises `WeightsError` for an ending other than .safetensors or no folder."""
    check_path(path)
    style = styles.style
    assert style.vector is not None and style.space_id is not None
    header = {
        "space_id": style.space_id,
        "labels": [dict(row) for row in style.labels],
        "factors": {name: list(values) for name, values in styles.factors.items()},
        "scales": {name: dict(places) for name, places in styles.scales.items()},
    }
    part = path.with_name(path.name + ".part")
    tensors = {"vectors": style.vector.detach().float().cpu().contiguous().clone(), "counts": styles.counts.cpu()}
    save_file(tensors, part, metadata={_HEADER: json.dumps(header)})
    part.replace(path)


def read_styles(path: Path) -> StyleFile:
    """The styles of a file. Raises `WeightsError` for a file that holds none, or vectors that are not finite."""
    try:
        with safe_open(path, framework="pt") as file:
            header: Any = json.loads((file.metadata() or {}).get(_HEADER, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (FileNotFoundError, IsADirectoryError) as error:
        raise WeightsError(f"The style file {path} does not exist.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is no readable style file: {error}.") from error
    vectors, counts = tensors.get("vectors"), tensors.get("counts")
    if not isinstance(header, dict) or not isinstance(header.get("space_id"), str) or vectors is None:
        raise WeightsError(
            f"{path} is no style file: vectors and the name of their space are missing.\n"
            "`omnikit style mix` and `omnikit style export` write style files."
        )
    if vectors.ndim != 2 or not len(vectors) or not bool(vectors.isfinite().all()):
        raise WeightsError(f"{path} holds no finite style vectors [N, D].")
    labels = tuple(header.get("labels") or ())
    if labels and len(labels) != len(vectors):
        raise WeightsError(f"{path} holds {len(vectors)} vectors and {len(labels)} rows of labels.")
    style = Style(labels=labels, vector=vectors.float(), space_id=header["space_id"], source="user")
    counts = torch.zeros(len(vectors), dtype=torch.long) if counts is None else counts
    return StyleFile(style, counts, header.get("factors") or {}, header.get("scales") or {})


def read_one_style(path: Path) -> Style:
    """The style of a file that holds one. Raises `WeightsError` where it holds several."""
    style = read_styles(path).style
    assert style.vector is not None
    if len(style.vector) != 1:
        raise WeightsError(
            f"{path} is a table of {len(style.vector)} styles; one is needed.\n"
            "Make it a part with `omnikit style import`, or take one style out with `omnikit style mix`."
        )
    return style


def table_of(module: StyleModule) -> StyleFile:
    """Every combination of a style module's choices. Raises `WeightsError` where it has no labels or no vectors."""
    factors = choices_of(module)
    rows = [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]
    style = module.from_labels(rows)
    if not factors or style.vector is None:
        raise WeightsError(f"This style module ({type(module).__name__}) has no labelled styles.")
    counts = torch.tensor([module.count_of(row) or 0 for row in rows], dtype=torch.long)
    scales = {name: places for name, places in module.scales.items() if name in factors}
    return StyleFile(replace(style, labels=tuple(rows)), counts, factors, scales)


def part_of(styles: StyleFile) -> StyleModule:
    """The table of a file as a `style/label_centroid`; combinations that it lacks are predicted.

    Raises `WeightsError` for a file without labels.
    """
    style = styles.style
    assert style.vector is not None and style.space_id is not None
    if not style.labels or not all(style.labels):
        raise WeightsError("Only styles with labels make a table; this file says none.")
    factors = styles.factors or _factors_in(style.labels)
    module = create("style/label_centroid", dim=style.vector.shape[1], factors=factors, scales=styles.scales)
    module.fit(style.vector, style.labels, style.space_id)
    rows = torch.tensor([module.space.row(module.space.complete(row)) for row in style.labels])
    module.counts.zero_().index_copy_(0, rows, styles.counts.long())
    return module


def choices_of(module: StyleModule) -> dict[str, tuple[str, ...]]:
    """The factors that choose among names; those that are numbers alone stay at their defaults."""
    return {name: values for name, values in module.factors.items() if not all(map(_is_number, values))}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _factors_in(labels: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The values of every factor, in the order of their first appearance."""
    names = dict.fromkeys(name for row in labels for name in row)
    return {name: list(dict.fromkeys(str(row[name]) for row in labels if name in row)) for name in names}


def check_path(path: Path) -> None:
    """Raise `WeightsError` unless a style file can be written there."""
    if path.suffix != SUFFIX:
        raise WeightsError(f"'{path}' must end in {SUFFIX}.")
    if not path.parent.is_dir():
        raise WeightsError(f"'{path}': the folder {path.parent} does not exist.")
