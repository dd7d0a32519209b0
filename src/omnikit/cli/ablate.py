"""`omnikit ablate ablation=…`: from a question to finished runs; the same command again runs only what is missing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnikit.errors import OmnikitError

if TYPE_CHECKING:
    from omnikit.ablation.plan import Cell, Plan
    from omnikit.ablation.runner import Failure

FAILED = 3
HELP = """Run an ablation study: every arm of a question with every seed, each cell a process of its own.

  omnikit ablate ablation=tokenizer_swap budget=tiny              into runs/ablations/tokenizer_swap-tiny
  omnikit ablate ablation=tokenizer_swap budget=tiny --dry-run    what would run, what is done, how long it takes
  omnikit ablate --file my_question.yaml seeds=[0,1,2,3] on_failure=retry:1        a question of your own
  omnikit ablate ablation=style_module launcher.gpus=[0,1,2,3]                 a cell a GPU
  omnikit ablate ablation=style_module launcher=submitit launcher.parameters.slurm_partition=gpu

Keys of conf/ablate.yaml are settings of the study (budget, seeds, out, on_failure, match, launcher …); overrides of any
other key go to every cell. The same command again runs only what is missing. Ctrl-C and SIGTERM let running cells save
and end; a second Ctrl-C kills them. Exit code 3: a cell failed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument("--file", help="a question of your own (YAML), in place of ablation=…")
    parser.add_argument("--dry-run", action="store_true", help="print the plan; nothing runs")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--cell", help="run the one cell of this folder (what launchers start)")


def run(args: argparse.Namespace) -> int:
    """Plan, then run what is missing, then tell what failed."""
    if args.cell is not None:
        from omnikit.ablation.cell import run_cell

        return run_cell(Path(args.cell))
    from omnikit.ablation.processes import Stopped, stoppable

    try:
        with stoppable():
            return _ask(args)
    except Stopped as stopped:
        print(f"stopped by {stopped}; the same command goes on where it is.", file=sys.stderr)
        return stopped.code


def _ask(args: argparse.Namespace) -> int:
    from omnikit.ablation.launchers import make_launcher
    from omnikit.ablation.runner import OnFailure, opened, refuse_another_plan, run_cells

    config, cells = study_config(args.overrides, args.file)
    on_failure = OnFailure.parse(str(config["on_failure"]))
    launcher_node = _with_jobs(config["launcher"])
    plan = plan_study(config, cells, make_data=not args.dry_run)
    folder = sweep_folder(config, plan)
    launcher = make_launcher(launcher_node, folder)
    if args.dry_run:
        refuse_another_plan(folder, plan)
        return _tell_plan(plan, folder, int(launcher_node["jobs"]), args.json)
    with opened(folder, plan) as todo:
        from omnikit.cli.ablate_view import View

        done = len({cell.id for cell in plan.cells}) - len(todo)
        print(f"{folder}: {len(todo)} cells to run, {done} done, {_num_pruned(plan)} arms pruned", flush=True)
        for own in plan.arms:
            if own.pruned is not None:
                print(f"pruned {own.arm.name}: {own.pruned.splitlines()[0]}", flush=True)
        with View(folder, todo) as view:
            failures = run_cells(folder, todo, launcher, on_failure, view.ended)
    return _tell_end(plan, folder, failures, args.json)


def _with_jobs(node: Mapping[str, Any]) -> dict[str, Any]:
    """A launcher's settings with the number of cells at a time, where it is left to the machine (null)."""
    if node.get("jobs") is not None or node["name"] != "local":
        return dict(node)
    import torch

    from omnikit.ablation.launchers import cells_at_once

    return {**node, "jobs": cells_at_once(node["gpus"], torch.accelerator.is_available())}


def study_config(overrides: Sequence[str], file: str | None) -> tuple[dict[str, Any], list[str]]:
    """The settings of a study, with its question under `ablation`, and the overrides that go to every cell."""
    from omnikit.cli.config import compose_config

    own_keys = ("ablation", "budget", "launcher", "out", "seeds", "on_failure", "match", "evaluation")
    own: list[str] = []
    cells: list[str] = []
    for text in overrides:
        key = text.split("=")[0].lstrip("+").split("@")[0]
        (own if key.split(".")[0] in own_keys else cells).append(text)
        if key in ("seed", "stage", "overwrite", "name"):
            raise OmnikitError(f"'{text}' is decided by the study, which has seeds=[0,1,2] and stages.")
    config = compose_config("ablate", own)
    if file is not None:
        config["ablation"] = _read_question(Path(file))
    if config.get("ablation") is None:
        raise OmnikitError("Which question? Give ablation=NAME (conf/ablation has them) or --file QUESTION.yaml.")
    if config["seeds"] is not None:
        config["ablation"] = {**config["ablation"], "seeds": config["seeds"]}
    return config, cells


def _read_question(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OmnikitError(f"--file '{path}' does not exist.") from None
    except yaml.YAMLError as error:
        raise OmnikitError(f"--file '{path}' is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict):
        raise OmnikitError(f"--file '{path}' holds no question; conf/ablation/tokenizer_swap.yaml is one.")
    return {"name": path.stem, **found}


def plan_study(config: Mapping[str, Any], cells: Sequence[str], make_data: bool = False) -> Plan:
    """The plan of a study: composes every arm and negotiates it; no weight is loaded.

    The corpus of the budget stands in where there is no other; with `make_data` it is made where it is missing. Arms
    that are matched by FLOPs run one step of every stage first, once.
    """
    from omnikit.ablation.counting import count_flops
    from omnikit.ablation.plan import Setting, make_plan
    from omnikit.ablation.question import Question
    from omnikit.cli.config import compose_config
    from omnikit.data.corpus import CORPUS_FILE, make_corpus, read_summary
    from omnikit.errors import unknown_name
    from omnikit.evaluation.judge import JUDGES

    node = dict(config["ablation"])
    node["base"] = [*config["budget"]["overrides"], *(node.get("base") or [])]
    node["axes"] = {key: _expanded(key, values) for key, values in (node.get("axes") or {}).items()}
    question = Question.read(node)
    for name in question.judges:
        if name not in JUDGES:
            raise unknown_name("part to judge", name, JUDGES)
    first = compose_config("cell", [*question.base, *cells])
    corpus = Path(first["data"]["path"])
    made = config["budget"]["corpus"]
    if made is not None and not (corpus / CORPUS_FILE).exists() and not any("data.path=" in item for item in cells):
        corpus = Path(made["path"])
        cells = [*cells, f"data.path={corpus}"]
        if make_data and not (corpus / CORPUS_FILE).exists():
            print(f"making a corpus of {made['hours']:g} h in {corpus}", file=sys.stderr, flush=True)
            make_corpus(corpus, made["hours"], made["seed"])
    summary = read_summary(corpus)
    setting = Setting(
        overrides=tuple(cells),
        budget=str(config["budget"]["name"]),
        steps=config["budget"]["steps"],
        match=config["match"],
        data={"sha256": summary.content_sha256, "seed": summary.seed, "hours": summary.hours},
        evaluation={**config["evaluation"], "parts": list(question.judges)},
        goal=tuple(dict.fromkeys(slot for name in question.judges for slot in JUDGES[name][1])),
    )

    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        return compose_config("cell", overrides)

    if setting.match == "flops":
        short = replace(setting, match=None, steps=dict.fromkeys(first["stages"], 1))
        one = make_plan(question, short, compose)
        setting = replace(setting, flops=count_flops(one, sweep_folder(config, one) / "flops", _say))
    return make_plan(question, setting, compose)


def _expanded(key: str, values: Any) -> list[Any]:
    """The values of an axis: as listed, or all that `glob(…)`, `range(…)` or `choice(…)` stands for."""
    if not isinstance(values, str):
        return list(values) if isinstance(values, list | tuple) else [values]
    from omnikit.cli.config import values_of

    return values_of(f"{key}={values}")


def sweep_folder(config: Mapping[str, Any], plan: Plan) -> Path:
    """Where a study lives."""
    return Path(config["out"] or f"runs/ablations/{plan.question.name}-{plan.budget}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _num_pruned(plan: Plan) -> int:
    return sum(own.pruned is not None for own in plan.arms)


def _tell_plan(plan: Plan, folder: Path, jobs: int, as_json: bool) -> int:
    from omnikit.ablation.forecast import forecast

    told = forecast(plan, folder, jobs)
    print(json.dumps(told.document(), indent=1) if as_json else told.text())
    return 0


def _tell_end(plan: Plan, folder: Path, failures: Sequence[Failure], as_json: bool) -> int:
    """List every cell that is not done with its cause, and say what to do next."""
    cells = {cell.id for cell in plan.cells}
    if as_json:
        record = {
            "folder": str(folder),
            "cells": len(cells),
            "done": len(cells) - len(failures),
            "failures": [_failure(item) for item in failures],
        }
        print(json.dumps(record, indent=1))
        return FAILED if failures else 0
    print(f"{folder}: {len(cells) - len(failures)} of {len(cells)} cells done")
    for item in failures:
        print(f"{item.state} {_called(item.cell)}: {item.cause}", file=sys.stderr)
        print(f"  {folder / item.cell.folder}", file=sys.stderr)
    if failures:
        print("The same command again runs only these cells.", file=sys.stderr)
    return FAILED if failures else 0


def _failure(item: Failure) -> dict[str, Any]:
    return {
        "cell": item.cell.id,
        "arm": item.cell.arm,
        "seed": item.cell.seed,
        "state": item.state,
        "cause": item.cause,
    }


def _called(cell: Cell) -> str:
    return f"{cell.arm}, seed {cell.seed}"
