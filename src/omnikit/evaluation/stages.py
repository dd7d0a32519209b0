"""The figures of a run before and after each of its stages: what every stage of the mind taught, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from omnikit.artefacts import CARD, read_card, trained_parameters
from omnikit.errors import WeightsError
from omnikit.evaluation.figures import Figure, measured
from omnikit.system import System
from omnikit.wiring import Node, Wire, negotiate

BEFORE = "before"
OBJECTIVE = "language"
"""What stages of the mind learn, as their configs call it."""


@dataclass(frozen=True)
class Moment:
    """A run at one moment: the trained folder of each slot, and the folders whose parts have not learnt yet."""

    name: str
    weights: Mapping[str, Path]
    unlearnt: Mapping[str, Path]


def moments(run: Path, others: Mapping[str, Path]) -> list[Moment]:
    """A run before its first stage of the mind and after each finished one, in the order in which they were trained.

    `others` are the trained folders of the parts that these stages only use.
    Raises `WeightsError` where no such stage is finished.
    """
    stages = sorted(_stages(run), key=lambda stage: stage[0])
    if not stages:
        raise WeightsError(
            f"{run} holds no finished stage of the mind: folders such as {run / 'sft'} with state.json and parts.\n"
            "Give the folder that `omnikit train … out=` wrote into."
        )
    parts = {name: {card.parent.name: card.parent for card in folder.glob(f"*/{CARD}")} for _, name, folder in stages}
    latest: dict[str, Path] = {}
    unlearnt: dict[str, Path] = {}
    for own in parts.values():
        unlearnt = {**own, **unlearnt}
    found = []
    for name, own in [(BEFORE, {}), *parts.items()]:
        latest |= own
        waiting = {slot: folder for slot, folder in unlearnt.items() if slot not in latest}
        kept = {slot: folder for slot, folder in others.items() if slot not in unlearnt}
        found.append(Moment(name, {**kept, **latest}, waiting))
    return found


def system_at(moment: Moment, wires: Iterable[Wire], seed: int) -> System:
    """The system of a run at a moment; what has not learnt yet starts as its training did: published, or by `seed`."""
    nodes = {
        slot: Node(read_card(folder)["id"], trained_parameters(folder), origin=str(folder))
        for slot, folder in moment.weights.items()
    }
    for slot, folder in moment.unlearnt.items():
        card = read_card(folder)
        nodes[slot] = Node(card["id"], card["parameters"], origin=str(folder))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return System.build(negotiate(nodes, list(wires)), moment.weights)


def stage_table(columns: Mapping[str, Sequence[Figure]]) -> str:
    """Figures as Markdown: a row for each of the table, a column for each moment."""
    rows: dict[tuple[str, str], dict[str, Figure]] = {}
    for moment, figures in columns.items():
        for figure in figures:
            if not figure.group:
                rows.setdefault((figure.part, figure.name), {})[moment] = figure
    lines = [f"| part | figure | {' | '.join(columns)} | target | n |", "|---" * (len(columns) + 4) + "|"]
    shown = ""
    for (part, name), found in rows.items():
        cells = [measured(found[moment]) if moment in found else "" for moment in columns]
        last = next(reversed(found.values()))
        target = "" if last.target is None else f"{last.target} {last.unit}".rstrip()
        said = "" if part == shown else part
        lines.append(f"| {said} | {name} | {' | '.join(cells)} | {target} | {last.num_items} |")
        shown = part
    return "\n".join(lines)


def _stages(run: Path) -> Iterator[tuple[int, str, Path]]:
    """How many stages may have come before, the name, and the parts of every finished stage of the mind."""
    for state in run.glob("*/state.json"):
        config = state.with_name("config.yaml")
        parts = state.with_name("parts")
        if not json.loads(state.read_text())["finished"] or not config.is_file() or not parts.is_dir():
            continue
        stage = yaml.safe_load(config.read_text())["stage"]
        if stage["objective"] == OBJECTIVE:
            yield len(stage["after"]), stage["name"], parts
