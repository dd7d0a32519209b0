"""The plan of a study: arms that fit, the training steps that their cells share, and what identifies each of them.

A step is one training stage, known by the hash of everything that can change its result, the steps before it among
that. Steps of one hash are one run, whichever cells want it. A cell is an arm with a seed: steps, then evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omnikit.ablation.files import digest
from omnikit.ablation.question import Arm, Question
from omnikit.ablation.retraining import differing, leaves, stages_needed
from omnikit.ablation.shortening import budgeted, matched, num_steps
from omnikit.artefacts import read_card
from omnikit.errors import ContractError, OmnikitError, unknown_name
from omnikit.evaluation.cascade import END_TO_END
from omnikit.training.choices import chosen_nodes, plan_of, slot_nodes, weight_folders
from omnikit.training.curriculum import runs_of
from omnikit.training.identity import CHANGE_RESULTS, run_key, slots_of
from omnikit.training.present import of_present_parts
from omnikit.wiring import Node, Wire, negotiate
from omnikit.wiring import Plan as WiringPlan

FORMAT = 1
JUDGED_BY = {"answers": END_TO_END}
"""Keys of a config that say how a cell is judged; at these values they are no part of what it is known by."""
NOT_OF_A_STEP = ("stages", "stage", "curriculum", "fresh", "out", "weights", *JUDGED_BY)
"""Keys of a composed config that every step says anew, or needs no more."""
Config = dict[str, Any]
Compose = Callable[[Sequence[str]], Config]
"""Overrides → a resolved training config whose `stages` holds every stage's config by name."""


@dataclass(frozen=True)
class Step:
    """One training stage of a cell: its key, its config without weights, and where each slot starts from.

    `sources` maps a slot to `{"step": key, "stage": name}` or `{"folder": path}`; a slot without one starts anew.
    """

    key: str
    stage: str
    config: Config
    sources: Mapping[str, Mapping[str, str]]

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return num_steps(self.config["stage"])


@dataclass(frozen=True)
class Cell:
    """An arm with a seed: training steps in order, then the evaluation of what they made."""

    id: str
    arm: str
    seed: int
    steps: tuple[Step, ...]
    evaluation: Config
    sources: Mapping[str, Mapping[str, str]]

    @property
    def folder(self) -> str:
        """Where it lives in a sweep."""
        return f"cells/{self.id}"

    def document(self) -> dict[str, Any]:
        """All that the process of a cell needs to know, as plain data."""
        return {
            "id": self.id,
            "arm": self.arm,
            "seed": self.seed,
            "steps": [
                {"key": step.key, "stage": step.stage, "config": step.config, "sources": dict(step.sources)}
                for step in self.steps
            ],
            "evaluation": self.evaluation,
            "sources": dict(self.sources),
        }


@dataclass(frozen=True)
class PlannedArm:
    """An arm, and why it cannot be (None: it can)."""

    arm: Arm
    pruned: str | None


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep will do."""

    question: Question
    budget: str
    arms: tuple[PlannedArm, ...]
    cells: tuple[Cell, ...]

    def steps(self) -> dict[str, Step]:
        """The training steps of all cells, once each."""
        return {step.key: step for cell in self.cells for step in cell.steps}

    def document(self) -> dict[str, Any]:
        """`sweep.json`: what reports read, and the digest by which a sweep knows its plan again."""
        asked = self.question
        about = {
            "format": FORMAT,
            "name": asked.name,
            "question": asked.question,
            "kind": asked.kind,
            "baseline": asked.baseline,
            "primary": asked.primary,
            "seeds": list(asked.seeds),
            "budget": self.budget,
            "arms": [
                {"name": own.arm.name, "overrides": list(own.arm.overrides), "pruned": own.pruned} for own in self.arms
            ],
            "cells": [
                {"id": cell.id, "arm": cell.arm, "seed": cell.seed, "folder": cell.folder} for cell in self.cells
            ],
        }
        return {**about, "plan": digest(about)}


@dataclass(frozen=True)
class Setting:
    """What a plan needs beside the question: overrides of every cell, budget, matching, data, and what is judged.

    `flops` of one step, by arm and stage, are needed where arms are matched by them.
    """

    overrides: tuple[str, ...]
    budget: str
    steps: Mapping[str, int | None]
    match: str | None
    data: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    goal: tuple[str, ...]
    flops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def make_plan(question: Question, setting: Setting, compose: Compose) -> Plan:
    """Compose every arm, prune those whose contracts do not fit, and lay out the steps of every cell.

    Raises `OmnikitError` where an arm cannot be composed, and where the baseline itself does not fit.
    """
    configs: dict[str, Config] = {}
    for arm in question.arms:
        try:
            configs[arm.name] = compose(_last_of_each((*question.base, *setting.overrides, *arm.overrides)))
        except OmnikitError as error:
            raise type(error)(f"Arm '{arm.name}': {error}") from error
    trained = {arm.name: arm.trained_as or arm.name for arm in question.arms}
    owners = [arm for arm in question.arms if arm.trained_as is None]
    chosen = {arm.name: _stages(arm, question, configs[arm.name], setting.steps) for arm in owners}
    base, base_flops = chosen[trained[question.baseline]], setting.flops.get(trained[question.baseline])
    chosen = {
        name: matched(stages, base, setting.match, setting.flops.get(name), base_flops)
        for name, stages in chosen.items()
    }
    pruned = {name: _misfit(config, configs[trained[name]]) for name, config in configs.items()}
    if pruned[question.baseline]:
        raise ContractError(f"The baseline '{question.baseline}' does not fit.\n{pruned[question.baseline]}")
    fitting = [arm.name for arm in owners if pruned[arm.name] is None]
    apart = _Differences.between([configs[name] for name in fitting], [chosen[name] for name in fitting])
    cells: list[Cell] = []
    for arm in question.arms:
        name = arm.name
        if pruned[name] is not None:
            continue
        config, stages = configs[trained[name]], chosen[trained[name]]
        given = weight_folders(config)
        needed = stages_needed(
            stages,
            list(stages),
            goal=setting.goal,
            changed=apart.slots,
            changed_stages=apart.stages,
            given=given,
        )
        try:
            own = [
                _cell(arm, configs[name], config, stages, needed, given, question.continues, setting, seed)
                for seed in question.seeds
            ]
            apart_by_seed = {
                cell.id: cell for cell in reversed(own)
            }  # where nothing trains, every seed is the same run
            cells += reversed(apart_by_seed.values())
        except ContractError as error:
            pruned[name] = str(error)
        except OmnikitError as error:
            raise type(error)(f"Arm '{name}': {error}") from error
    return Plan(
        question, setting.budget, tuple(PlannedArm(arm, pruned[arm.name]) for arm in question.arms), tuple(cells)
    )


@dataclass(frozen=True)
class _Differences:
    """In which slots and stages the arms differ."""

    slots: set[str]
    stages: set[str]

    @classmethod
    def between(cls, configs: Sequence[Config], stages: Sequence[Mapping[str, Mapping[str, Any]]]) -> _Differences:
        every = {name for own in stages for name in own}
        settings = [
            {"data": own["data"], "system": own["system"], **{name: own["trainer"][name] for name in CHANGE_RESULTS}}
            for own in configs
        ]
        if any(own != settings[0] for own in settings[1:]):
            return cls({slot for own in configs for slot in slot_nodes(own)}, every)
        found = differing(stages, every)
        common = every - found
        if len({tuple(name for name in own if name in common) for own in stages}) > 1:  # the same, in another order
            found = every
        nodes = [slot_nodes(own) for own in configs]
        return cls(differing(nodes, {slot for own in nodes for slot in own}), found)


def _cell(
    arm: Arm,
    judged: Config,
    config: Config,
    stages: Mapping[str, Mapping[str, Any]],
    needed: Sequence[str],
    given: Mapping[str, Path],
    continues: Sequence[str],
    setting: Setting,
    seed: int,
) -> Cell:
    base = {name: value for name, value in config.items() if name not in NOT_OF_A_STEP}
    made: dict[str, dict[str, str]] = {}
    retrained = {slot for name in needed for slot in leaves(stages[name])}
    kept = {slot: path for slot, path in given.items() if slot not in retrained or slot in continues}
    steps: list[Step] = []
    for name in needed:
        stage = stages[name]
        own = {**base, "stage": stage, "seed": seed, "weights": None, "overwrite": False}
        folders = {slot: path for slot, path in kept.items() if slot in slots_of(stage)}
        sources = {slot: made[slot] for slot in slots_of(stage) if slot in made}
        lacking = [slot for slot in stage["requires"] if slot not in sources and slot not in folders]
        if lacking:
            raise OmnikitError(
                f"stage {name} needs a trained {' and '.join(lacking)}, and no stage before it makes one.\n"
                f"Name one that does in the question's stages (now: {', '.join(stages)}), or give weights=tiny."
            )
        wires = [Wire.parse(text) for text in own["system"]["wires"]]
        try:
            plan = negotiate(chosen_nodes(own, folders), wires)
        except ContractError:  # a part that is kept may fit only beside the others that it was trained with
            folders = kept
            plan = negotiate(chosen_nodes(own, folders), wires)
        contents = {slot: read_card(path)["sha256"] for slot, path in folders.items()}
        contents |= {slot: f"step {source['step']}" for slot, source in sources.items()}
        key = run_key(own, setting.data, plan, contents)
        all_sources = {**{slot: {"folder": str(path)} for slot, path in folders.items()}, **sources}
        steps.append(Step(key, name, own, all_sources))
        made |= {slot: {"step": key, "stage": name} for slot in leaves(stage)}
    other = [slot for slot, node in slot_nodes(judged).items() if node != slot_nodes(config).get(slot)]
    kept = {slot: path for slot, path in kept.items() if slot not in other}
    kept |= {slot: path for slot, path in weight_folders(judged).items() if slot in other}
    final = {**{slot: {"folder": str(path)} for slot, path in kept.items() if slot in setting.goal}}
    final |= {slot: source for slot, source in made.items() if slot in setting.goal and slot not in other}
    evaluation = {
        **{name: judged[name] for name in (*slot_nodes(judged), "system", "data", "name") if name in judged},
        **{name: judged[name] for name in JUDGED_BY if name in judged},
        **setting.evaluation,
        "weights": judged.get("weights"),
    }
    told = {name: value for name, value in evaluation.items() if JUDGED_BY.get(name) != value}
    identity = {**told, "data": setting.data, "weights": None}
    contents = {slot: read_card(path)["sha256"] for slot, path in kept.items() if slot in setting.goal}
    return Cell(
        id=digest({"steps": [step.key for step in steps], "weights": contents, "evaluation": identity}),
        arm=arm.name,
        seed=seed,
        steps=tuple(steps),
        evaluation=evaluation,
        sources=final,
    )


def _stages(arm: Arm, question: Question, config: Config, steps: Mapping[str, int | None]) -> dict[str, dict[str, Any]]:
    """The stages that an arm may run, in order and within the budget: its own, or the question's.

    A curriculum takes the place of the stages that it is made of.
    """
    names = question.stages if arm.stages is None else arm.stages
    unknown = [name for name in names if name not in config["stages"]]
    if unknown:
        raise unknown_name(f"stage of arm '{arm.name}'", unknown[0], config["stages"])
    every = budgeted(config["stages"], steps)
    curriculum = config.get("curriculum")
    if curriculum is None:
        found = {name: every[name] for name in names}
    else:
        made_of = {name: every[name] for name in curriculum["stages"]}
        runs = runs_of({**config, "curriculum": {**curriculum, "stages": made_of}})
        found = {name: every[name] for name in names if name not in made_of}
        found |= {run["stage"]["name"]: run["stage"] for run in runs}
    return {name: of_present_parts({**config, "stage": stage})["stage"] for name, stage in found.items()}


def _misfit(config: Config, trained: Config) -> str | None:
    """Why the parts of a config do not fit, where they were trained as `trained` says; None where they do."""
    try:
        parts = {}
        if config is not trained:
            plan, own, theirs = _negotiated(trained, {}), slot_nodes(config), slot_nodes(trained)
            common = {slot: node for slot, node in plan.nodes.items() if own.get(slot) == theirs[slot]}
            parts = {slot: replace(node, parameters=plan.parameters[slot]) for slot, node in common.items()}
        _negotiated(config, parts)
    except ContractError as error:
        return str(error)
    return None


def _negotiated(config: Config, parts: Mapping[str, Node]) -> WiringPlan:
    """How the parts of a config fit, some of them as given; weights can only add what nobody else says."""
    try:
        wires = [Wire.parse(text) for text in config["system"]["wires"]]
        return negotiate({**chosen_nodes(config, {}), **parts}, wires)
    except ContractError as error:
        try:
            return plan_of(config)[0]
        except ContractError:
            raise error from None


def _last_of_each(overrides: Sequence[str]) -> list[str]:
    """Overrides of which a later one of the same key replaces an earlier one, in order."""
    return list({text.split("=")[0].lstrip("+"): text for text in overrides}.values())
