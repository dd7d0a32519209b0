"""Systems on disk, taken apart and put together: which parts there are, what a swap changes, where two differ.

Cards and tensors are read; no component is built. A graft is negotiated before anything is copied.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from omnikit.artefacts import CARD, component_folder, locate, read_card, read_weights, trained_parameters
from omnikit.contracts import contract_of, show
from omnikit.errors import OmnikitError, WeightsError, unknown_name
from omnikit.registry import resolve
from omnikit.system_file import read_settings, write_settings
from omnikit.wiring import Node, negotiate

MEANINGS = ("vocab_id", "space_id", "style_space")
"""Parameters that name what numbers mean; they are made from weights."""


@dataclass(frozen=True)
class Part:
    """A trained part as it lies on disk: its folder, its component, its full parameters, its tensors by name."""

    folder: Path
    component: str
    parameters: Mapping[str, Any]
    sha256: str

    @classmethod
    def of(cls, folder: Path) -> Part:
        """The part in a folder. Raises `WeightsError` where there is none, `UnknownName` for an unknown component."""
        card = read_card(folder)
        return cls(folder, card["id"], trained_parameters(folder), str(card.get("sha256", "")))

    @property
    def slot(self) -> str:
        """The slot that the component belongs to."""
        return self.component.split("/")[0]

    @property
    def meanings(self) -> dict[str, str]:
        """What its numbers mean, by parameter."""
        return {name: str(self.parameters[name]) for name in MEANINGS if self.parameters.get(name)}

    def tensors(self) -> dict[str, Tensor]:
        """Its weights, those of a base that it leans on among them."""
        return read_weights(self.folder)

    def facts(self) -> dict[str, str]:
        """What its contract says, as `needs audio.sample_rate` → value."""
        contract = contract_of(resolve(self.component), self.parameters)
        ends = (("needs", contract.needs), ("gives", contract.gives))
        ports = [(f"{end} {name}", port) for end, found in ends for name, port in found.items()]
        told = {f"{name}.{fact}": show(value) for name, port in ports for fact, value in port.facts()}
        return {**told, "causal": str(contract.causal), "lookahead_ms": str(contract.lookahead_ms)}


@dataclass(frozen=True)
class Change:
    """Something that is not the same: what it is, and how it stands on both sides (`-`: it is not there)."""

    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before} → {self.after}"


def parts_of(root: Path) -> dict[str, Part]:
    """The parts of a system's folder by the name of their place. Raises `WeightsError` where there are none."""
    folders = sorted(item for item in root.iterdir() if (item / CARD).is_file())
    if not folders:
        raise WeightsError(f"{root} is no system: there is no */{CARD} in it.")
    return {folder.name: Part.of(folder) for folder in folders}


def part_at(reference: str) -> Part:
    """The part that `folder`, `system#slot` or `tag#slot` refers to."""
    folder = component_folder(reference)
    root, hash_, slot = reference.partition("#")
    if not (folder / CARD).is_file() and hash_:
        raise unknown_name(f"part of {root}", slot, parts_of(locate(root)))
    if not (folder / CARD).is_file():
        names = ", ".join(f"{root}#{name}" for name in list(parts_of(folder))[:4])
        raise WeightsError(f"{reference} is a system; name one of its parts, e.g. {names}.")
    return Part.of(folder)


def extract(reference: str, out: Path) -> Part:
    """Copy one part into a folder of its own. Raises `OmnikitError` where that exists."""
    part = part_at(reference)
    with _new_folder(out) as staging:
        shutil.copytree(part.folder, staging, dirs_exist_ok=True)
    return part


def graft(base: str, references: Mapping[str, str], out: Path | None) -> list[Change]:
    """Put parts, by their places, into a copy of the system `base` in the folder `out` (None: only ask what happens).

    Returns what changes. Raises `ContractError` where the parts do not fit each other; nothing is written then.
    """
    root = locate(base)
    old = parts_of(root)
    new = {place: part_at(reference) for place, reference in references.items()}
    for place, part in new.items():
        if place in old and part.slot != old[place].slot:
            raise OmnikitError(f"{part.component} cannot stand in for {old[place].component}: they are of other slots.")
    whole = {**old, **new}
    settings = read_settings(root)
    nodes = {place: Node(part.component, part.parameters, str(part.folder)) for place, part in whole.items()}
    negotiate(nodes, settings.wires)
    changes = [
        Change(f"{place} {change.what}", change.before, change.after)
        for place, part in new.items()
        for change in part_changes(old.get(place), part)
    ]
    if out is not None:
        with _new_folder(out) as staging:
            for place, part in whole.items():
                shutil.copytree(part.folder, staging / place)
            write_settings(staging, settings.wires, settings.max_new_tokens)
    return changes


def part_changes(old: Part | None, new: Part | None) -> Iterator[Change]:
    """How the component, its contract and its parameters differ."""
    yield from _differences({"component": old.component} if old else {}, {"component": new.component} if new else {})
    if old is None or new is None:
        return
    yield from _differences(old.facts(), new.facts())
    shown = [{f"parameter {name}": str(value) for name, value in part.parameters.items()} for part in (old, new)]
    yield from _differences(*shown)


def tensor_changes(old: Part, new: Part) -> list[Change]:
    """Tensors that are missing on one side, of another shape, or of other values (the largest difference is told)."""
    if old.sha256 and old.sha256 == new.sha256:
        return []
    before, after = old.tensors(), new.tensors()
    shapes = [{name: str(list(tensor.shape)) for name, tensor in side.items()} for side in (before, after)]
    changes = list(_differences(*shapes))
    for name in sorted(before.keys() & after.keys()):
        if before[name].shape == after[name].shape and not before[name].equal(after[name]):
            apart = (before[name].double() - after[name].double()).abs().max()
            size = before[name].double().abs().max()
            changes.append(Change(name, f"up to {float(size):.3g}", f"up to {float(apart):.3g} apart"))
    return changes


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in (*before, *(name for name in after if name not in before)):
        one, other = before.get(name, "-"), after.get(name, "-")
        if one != other:
            yield Change(name, one, other)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder to write in, which is `out` once the block ends well; otherwise nothing is left of it."""
    if out.exists():
        raise OmnikitError(f"{out} exists; give another --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield staging
        staging.chmod(0o755)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
