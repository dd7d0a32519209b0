"""From a published file to components: recognise what it holds, derive the sizes, fill in the weights strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from omnikit.artefacts import fill_from, name_after_weights
from omnikit.errors import WeightsError
from omnikit.published.base import Beside, Layout, Tensors
from omnikit.published.files import read_tensors
from omnikit.published.layouts import LAYOUTS
from omnikit.published.names import below, prefix_before
from omnikit.registry import resolve
from omnikit.slots.base import Component


@dataclass(frozen=True)
class Part:
    """A family found in a file: its layout, the prefix of its names there, and its tensors in plain spelling.

    `config` is the `config.json` beside the file.
    """

    layout: Layout
    prefix: str
    tensors: Tensors
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slot(self) -> str:
        """The slot that it fills."""
        return self.layout.slot

    def build(self, source: str, beside: Beside | None = None) -> Component:
        """The component with its weights, in evaluation mode.

        Raises `WeightsError` naming every tensor of `source` that is missing, unknown or of another shape.
        """
        layout = self.layout
        parameters = layout.parameters(self.tensors, self.config, beside or {})
        folder = Path(source) if Path(source).is_dir() else Path(source).parent
        component = layout.make(resolve(layout.component_id), parameters, folder, self.config)
        converted = layout.convert(self.tensors, self.config)
        renamed = {layout.rename(name): tensor for name, tensor in converted.items()}
        ours = {name: tensor for name, tensor in renamed.items() if name is not None}
        fill_from(component, layout.fit(component, ours), source)
        if layout.named_by:
            name_after_weights(component, layout.named_by, layout.name_prefix)
        return component.eval()


def parts_of(tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> list[Part]:
    """The known families among the tensors of a file, in the order of the table."""
    found = [(layout, prefix_before(tensors, layout.anchor)) for layout in LAYOUTS]
    return [
        Part(layout, prefix, below(tensors, prefix), config or {}) for layout, prefix in found if prefix is not None
    ]


def read_parts(path: Path) -> list[Part]:
    """The known families in a file or folder. Raises `WeightsError` when there is none, saying what was looked for."""
    tensors = read_tensors(path)
    parts = parts_of(tensors, _config_beside(path))
    if not parts:
        names = sorted(tensors)
        raise WeightsError(
            f"{path} holds no weights that omnikit knows: {len(names)} tensors, the first is {names[0]}.\n"
            "Known families:\n" + "\n".join(f"  {layout.about} → {layout.component_id}" for layout in LAYOUTS)
        )
    return parts


def _config_beside(path: Path) -> dict[str, Any]:
    """The settings that a published container keeps in the same folder; nothing where there are none."""
    try:
        folder = path if path.is_dir() else path.parent
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def load_whole(path: Path) -> dict[str, Component]:
    """Every part of a published file or folder by slot. Raises `WeightsError` as `load_published` does."""
    built: dict[str, Component] = {}
    for part in read_parts(path):
        built[part.slot] = part.build(str(path), built)
    return built


def load_published(path: Path, slot: str | None = None) -> Component:
    """The component of a published file; `slot` chooses where it holds several.

    Raises `WeightsError` for a file that cannot be read, is not known, does not fit, or holds no such part.
    """
    parts = read_parts(path)
    chosen = [part for part in parts if slot in (None, part.slot)]
    if len(chosen) != 1:
        choices = " or ".join(f"'{path}#{part.slot}'" for part in parts)
        asked = f"no {slot}" if not chosen else f"{len(chosen)} parts"
        raise WeightsError(f"{path} holds {asked}; load {choices}.")
    (wanted,) = chosen
    beside: dict[str, Component] = {}
    for part in parts[: parts.index(wanted)]:
        if part.slot in wanted.layout.reads:
            beside[part.slot] = part.build(str(path), beside)
    return wanted.build(str(path), beside)
