"""`omnikit repeat RUN`: do a run again from its own config and compare every number; on a CPU they are the same."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnikit.errors import OmnikitError

DIFFERS = 3
HELP = """Do a run again from its own config and compare. A run is a training stage's folder or a cell of a sweep, whose
evaluation is done again. Exit code 3: the numbers are not the same (on a GPU that may happen; on a CPU it should not).

  omnikit repeat runs/emova_tiny/tokenizer
  omnikit repeat runs/ablations/tokenizer_swap-tiny/cells/1f0… --out again
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("--out", help="keep what the repetition writes in this folder")


def run(args: argparse.Namespace) -> int:
    """Repeat, compare, tell."""
    from omnikit.ablation.compare import is_cell

    folder = Path(args.run)
    if args.out is not None and Path(args.out).exists():
        raise OmnikitError(f"--out '{args.out}' exists; a repetition starts in a folder of its own.")
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(args.out or temporary)
        found = _again_cell(folder, out) if is_cell(folder) else _again_stage(folder, out)
    if found:
        print("\n".join(f"not the same: {line}" for line in found))
        return DIFFERS
    return 0


def _again_stage(folder: Path, out: Path) -> list[str]:
    from omnikit.ablation.compare import curve_rows, read_run, unlike, weights
    from omnikit.ablation.files import read_json
    from omnikit.cli.config import read_config
    from omnikit.training.runner import run_stage

    read_run(folder)
    config = read_config(str(folder / "config.yaml"))
    if not (folder / "state.json").is_file() or not read_json(folder / "state.json").get("finished"):
        raise OmnikitError(f"{folder} is not finished; the command that began it goes on with it.")
    for line in _other_versions(read_json(folder / "run.json")):
        print(line)
    run_stage({**_with_its_weights(folder, config), "out": str(out), "overwrite": False})
    again = out / config["stage"]["name"]
    found = unlike(folder, again)
    if not found:
        print(f"the same: {len(curve_rows(folder))} rows of curves, weights of {', '.join(weights(folder))}")
    return found


def _with_its_weights(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the weights named that the run started from. Raises where they, or the data, have changed."""
    from omnikit.ablation.files import read_json
    from omnikit.artefacts import read_card
    from omnikit.data.corpus import read_summary
    from omnikit.training.choices import plan_of, slot_nodes
    from omnikit.training.identity import run_key

    earlier = [folder.parent / name / "parts" for name in config["stage"]["after"]]
    plan, found = plan_of(config, earlier)
    summary = read_summary(Path(config["data"]["path"]))
    identity = {"sha256": summary.content_sha256, "seed": summary.seed, "hours": summary.hours}
    contents = {slot: read_card(path)["sha256"] for slot, path in found.items()}
    if run_key(config, identity, plan, contents) != read_json(folder / "state.json")["key"]:
        raise OmnikitError(
            f"{folder} cannot be repeated: its data, the parts that it started from, or omnikit itself have changed.\n"
            f"It started from: {', '.join(map(str, found.values())) or 'nothing'}; data: {config['data']['path']}."
        )
    nodes = {
        slot: {**node, "weights": str(found[slot]) if slot in found else None}
        for slot, node in slot_nodes(config).items()
    }
    return {**config, **nodes, "weights": None}


def _other_versions(record: Mapping[str, Any]) -> list[str]:
    """A line for every library that is of another version now."""
    from importlib import metadata

    then = record.get("versions", {})
    return [
        f"{name} was {version}, is {metadata.version(name)}"
        for name, version in then.items()
        if metadata.version(name) != version
    ]


def _again_cell(folder: Path, out: Path) -> list[str]:
    from omnikit.ablation.compare import scores, unlike_scores
    from omnikit.cli import eval as judging

    if not scores(folder):
        raise OmnikitError(f"{folder} has no scores yet; the sweep's command goes on with it.")
    out.mkdir(parents=True, exist_ok=True)
    parser = argparse.ArgumentParser()
    judging.add_arguments(parser)
    words = ["--config", str(folder / "eval.yaml"), "--scores", str(out / "scores.jsonl")]
    judging.run(parser.parse_args(words))
    found = unlike_scores(scores(folder), scores(out))
    if not found:
        print(f"the same: {len(scores(folder))} metrics, with every item")
    return found
