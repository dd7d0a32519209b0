"""A curriculum: stages in an order, each with a mixture of its own, as a row of ordinary runs.

The order in which pictures and speech come is what EMOVA's alignment ablation compares (arXiv 2409.18042, figure 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnikit.errors import OmnikitError, unknown_name
from omnikit.training.present import of_present_parts

MODALITIES = {"vision": ("caption", "dialogue"), "speech": ("asr", "tts")}
"""What a task of alignment teaches; its dialogues are written questions about pictures."""
FIELDS = ("stage", "name", "steps", "shares", "settings")
_COUNTED = ("steps", "warmup_steps", "hold_steps")


def runs_of(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One config a run of the curriculum that `config` chooses, in order; `config` alone where it chooses none.

    A run says its `stage`, and may say a `name` (its folder; a stage that comes again is numbered), a share of the
    stage's `steps`, the `shares` of vision and speech in its mixture, and other `settings`. It starts from what the
    runs before it left, and from finished stages of `starts_from`; parts named `fresh` never start from `weights`.

    Raises `UnknownName` for a field, stage, modality or setting that does not exist, `OmnikitError` for no runs, two of
    one name, or a share that the recipe has no tasks for.
    """
    curriculum = config.get("curriculum")
    if curriculum is None:
        return [dict(config)]
    if not curriculum["runs"]:
        raise OmnikitError("The curriculum has no runs; write e.g. curriculum.runs='[{stage: align}, {stage: sft}]'.")
    rest = {name: value for name, value in config.items() if name != "curriculum"}
    before: list[str] = []
    configs = []
    for run in curriculum["runs"]:
        stage = _stage_of(run, curriculum["stages"])
        times = sum(item.get("stage") == run["stage"] for item in curriculum["runs"][: len(before)])
        name = run.get("name", f"{run['stage']}_{times + 1}" if times else run["stage"])
        if name in before:
            raise OmnikitError(f"Two runs of the curriculum are called '{name}'; give one another name.")
        stage |= {"name": name, "after": [*curriculum["starts_from"], *before]}
        configs.append(of_present_parts({**rest, "stage": stage, "fresh": list(curriculum["fresh"])}))
        before.append(name)
    return configs


def _stage_of(run: Mapping[str, Any], stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The config of a run's stage with what the run changes."""
    for field in run:
        if field not in FIELDS:
            raise unknown_name("field of a run", field, FIELDS)
    if run.get("stage") not in stages:
        raise unknown_name("stage of a run", str(run.get("stage")), stages)
    stage = dict(stages[run["stage"]])
    settings = _merged(stage["settings"], run.get("settings", {}), f"setting of stage {stage['name']}")
    if "shares" in run:
        settings["mixture"] = _mixture(settings["mixture"], run["shares"], stage["name"])
    if "steps" in run:
        settings["optim"] = _scaled(settings["optim"], float(run["steps"]))
    return {**stage, "settings": settings}


def _mixture(mixture: Mapping[str, float], shares: Mapping[str, float], stage: str) -> dict[str, float]:
    """The recipe's mixture, with these shares of the modalities; within one the tasks keep their proportions."""
    for modality in shares:
        if modality not in MODALITIES:
            raise unknown_name("modality of a mixture", modality, MODALITIES)
    weights: dict[str, float] = {}
    for modality, tasks in MODALITIES.items():
        own = {task: mixture[task] for task in tasks if mixture.get(task, 0) > 0}
        share = float(shares.get(modality, 0.0))
        if share > 0 and not own:
            raise OmnikitError(
                f"A run of stage {stage} wants a share of {modality}, but its recipe has none of {', '.join(tasks)}."
            )
        weights |= {task: share * weight / sum(own.values()) for task, weight in own.items()}
    return weights


def _scaled(optim: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """An optimiser's settings for a share of its steps."""
    if not factor > 0:
        raise OmnikitError(f"steps of a run is a share of the recipe's steps, above 0; got {factor:g}.")
    counts = {name: round(optim[name] * factor) for name in _COUNTED if name in optim}
    return {**optim, **counts, "steps": max(1, counts["steps"])}


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """`base` with `changes` inside; raises `UnknownName` for a setting that it does not have."""
    merged = dict(base)
    for name, value in changes.items():
        if name not in merged:
            raise unknown_name(kind, name, merged)
        both = isinstance(value, Mapping) and isinstance(merged[name], Mapping)
        merged[name] = _merged(merged[name], value, kind) if both else value
    return merged
