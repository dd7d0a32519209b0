"""`omnikit eval experiment=…`: judge a trained system on texts that no training saw, and print the table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnikit.errors import WeightsError

if TYPE_CHECKING:
    from omnikit.evaluation.judge import Judgement
    from omnikit.system import System

HELP = """Judge a trained system on texts that no training saw. Prints a Markdown table: every figure with its 95 %
interval over utterances and its target. Writes nothing; progress goes to stderr.

  omnikit eval experiment=emova_tiny                                     the weights that ship with omnikit
  omnikit eval experiment=emova_tiny weights=runs/emova_tiny/system data.path=corpus
  omnikit eval experiment=emova_tiny num_items=50 --json                 quicker; also by style and by kind of question
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument("--json", action="store_true", help="machine-readable output, with figures by group")


def run(args: argparse.Namespace) -> int:
    """Compose, load the trained parts, judge them, print."""
    from omnikit.cli.config import compose_config
    from omnikit.data.corpus import read_summary
    from omnikit.evaluation.figures import markdown
    from omnikit.evaluation.judge import check_corpus, judge_all

    config = compose_config("eval", args.overrides)
    corpus = Path(config["data"]["path"])
    check_corpus(corpus)
    system = trained_system(config)
    summary = read_summary(corpus)
    judgement = judge_all(system, corpus, num_items=config["num_items"], seed=config["seed"], progress=_say)
    identity = {"path": str(corpus), "seed": summary.seed, "hours": summary.hours, "sha256": summary.content_sha256}
    if args.json:
        setting = {
            "weights": config["weights"],
            "seed": config["seed"],
            "num_items": config["num_items"],
            "corpus": identity,
        }
        figures = [figure.as_dict() for figure in judgement.figures]
        print(json.dumps({**setting, "figures": figures, "left_out": judgement.left_out}, indent=1))
        return 0
    print(markdown(judgement.figures))
    source = f"corpus of {summary.hours:g} h, seed {summary.seed}, {summary.content_sha256[:12]}"
    size = f"n is at most {config['num_items']}, four times that for codebook and probes"
    print(f"\nWeights {config['weights']}; {source}; {size}. Intervals: 95 %, over utterances.")
    _print_left_out(judgement)
    return 0


def trained_system(config: Mapping[str, Any]) -> System:
    """The system of a config, of those parts alone that have trained weights.

    Raises `WeightsError` when there are none.
    """
    from omnikit.system import System
    from omnikit.training.choices import chosen_nodes, weight_folders
    from omnikit.wiring import Wire, negotiate

    weights = weight_folders(config)
    if not weights:
        raise WeightsError(
            f"{config['weights']} holds no trained part of this system.\nTrain one, or give weights=FOLDER."
        )
    nodes = {slot: node for slot, node in chosen_nodes(config, weights).items() if slot in weights}
    return System.build(negotiate(nodes, [Wire.parse(text) for text in config["system"]["wires"]]), weights)


def _print_left_out(judgement: Judgement) -> None:
    for name, missing in judgement.left_out.items():
        print(f"Not judged: {name}; these weights lack {', '.join(missing)}.")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
