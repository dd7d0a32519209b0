"""Variants: the YAML files of a slot, the component that each of them settles, and the words that say what for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from omnikit.plugins import plugin_folders
from omnikit.registry import available, slots


@dataclass(frozen=True)
class Variant:
    """A file `conf/<slot>/<name>.yaml`: its component's id, the comment on top, and the values that it sets."""

    name: str
    component: str
    about: str
    source: str
    values: dict[str, Any]


def config_folders() -> list[Path]:
    """Where variants and systems are: omnikit's own folder, then those of other distributions."""
    return [Path(str(files("omnikit.conf"))), *plugin_folders().values()]


@cache
def every_variant() -> dict[str, list[Variant]]:
    """All variants by the id of their component."""
    found: dict[str, list[Variant]] = {}
    for variant in _read():
        found.setdefault(variant.component, []).append(variant)
    return found


def _read() -> Iterator[Variant]:
    for slot in slots():
        texts = {
            path.stem: path.read_text(encoding="utf-8")
            for folder in config_folders()
            for path in sorted((folder / slot).glob("*.yaml"))
        }
        nodes = {name: yaml.safe_load(text) for name, text in texts.items()}
        for name, text in texts.items():
            comment = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
            values = {key: value for key, value in nodes[name].items() if key != "defaults"}
            yield Variant(name, f"{slot}/{_root(slot, name, nodes)}", " ".join(comment), text, values)


def _root(slot: str, name: str, nodes: dict[str, dict[str, Any]]) -> str:
    """The component that the first defaults of a variant, and of those that it builds on, lead to."""
    while f"{slot}/{name}" not in available(slot):
        first = next(item for item in nodes[name]["defaults"] if isinstance(item, str) and item != "_self_")
        name = first.rpartition("/")[2]
    return name
