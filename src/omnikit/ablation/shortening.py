"""How long stages train: budgets, and compute that is matched across arms."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from omnikit.errors import OmnikitError, unknown_name

MATCHES = ("steps", "tokens", "flops")
ALONG = (
    ("optim", "warmup_steps"),
    ("optim", "hold_steps"),
    ("adversary", "start"),
    ("teaching", "keep_steps"),
)
"""Settings counted in steps, which move with the number of steps."""
SIZES = ("batch_tokens", "batch_s", "batch_size")
"""What a batch holds, by the setting that says it; a stage has one of them."""


def num_steps(stage: Mapping[str, Any]) -> int:
    """The optimiser steps of a stage config."""
    return int(stage["settings"]["optim"]["steps"])


def batch_size(stage: Mapping[str, Any]) -> tuple[str, float]:
    """What a batch of a stage holds at most: the unit (`tokens`, `s` or `size`) and how many of it."""
    name = next(name for name in SIZES if name in stage["settings"])
    return name.removeprefix("batch_"), float(stage["settings"][name])


def with_steps(stage: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """A stage config that trains for `steps`; warm-up and the like are shortened alike."""
    changed = copy.deepcopy(dict(stage))
    factor = steps / num_steps(stage)
    for group, name in ALONG:
        if name in changed["settings"].get(group, {}):
            changed["settings"][group][name] = round(factor * changed["settings"][group][name])
    changed["settings"]["optim"]["steps"] = steps
    return changed


def budgeted(stages: Mapping[str, Mapping[str, Any]], steps: Mapping[str, int | None]) -> dict[str, dict[str, Any]]:
    """Stage configs of at most `steps` steps each; a stage that is not named, or null, keeps its own."""
    for name, limit in steps.items():
        if name not in stages:
            raise unknown_name("stage in budget.steps", name, stages)
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise OmnikitError(f"budget.steps.{name}={limit} is no number of steps; give 1 or more, or null.")
    return {
        name: with_steps(stage, min(num_steps(stage), steps.get(name) or num_steps(stage)))
        for name, stage in stages.items()
    }


def matched(
    stages: Mapping[str, Mapping[str, Any]],
    baseline: Mapping[str, Mapping[str, Any]],
    match: str | None,
    flops: Mapping[str, int] | None = None,
    baseline_flops: Mapping[str, int] | None = None,
) -> dict[str, dict[str, Any]]:
    """Stage configs that do as much as the baseline's: as many steps, as much in all batches (`tokens`), or `flops`.

    Stages whose batches are counted in seconds or pictures are matched in those by `tokens`. `flops` and
    `baseline_flops` hold those of one step of a stage; a stage that either lacks is matched by steps. None leaves what
    the arms say.
    """
    if match is None:
        return {name: dict(stage) for name, stage in stages.items()}
    if match not in MATCHES:
        raise unknown_name("match", match, MATCHES)
    own, base = flops or {}, baseline_flops or {}
    changed = {}
    for name, stage in stages.items():
        if name not in baseline:
            changed[name] = dict(stage)
            continue
        steps = float(num_steps(baseline[name]))
        if match == "tokens":
            steps *= batch_size(baseline[name])[1] / batch_size(stage)[1]
        if match == "flops" and name in own and name in base:
            steps *= base[name] / own[name]
        changed[name] = with_steps(stage, max(1, round(steps)))
    return changed
