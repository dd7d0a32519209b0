"""`omnikit eval experiment=…`: judge a trained system on texts that no training saw, and print the table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnikit.errors import OmnikitError, WeightsError

if TYPE_CHECKING:
    from omnikit.evaluation.judge import Judgement
    from omnikit.system import System

PAGE_TEXTS = 2
TAKES = 4
REFERENCE = "style/reference"
AVERAGED_S = 10.0
"""Seconds of every combination of labels whose mean style stands in where no recording is given."""
HELP = """Judge a trained system on texts that no training saw. Prints a Markdown table: every figure with its 95 %
interval over utterances and its target. Writes nothing but the page of --html; progress goes to stderr.

  omnikit eval experiment=emova_tiny                                     the weights that ship with omnikit
  omnikit eval experiment=emova_tiny weights=runs/emova_tiny/system data.path=corpus
  omnikit eval experiment=emova_tiny num_items=50 --json                 quicker; also by style and by kind of question
  omnikit eval experiment=emova_tiny "parts=[voice,control]" --html voice.html   one part alone; a page with players
  omnikit eval experiment=emova_tiny "parts=[language]" --stages runs/emova_tiny     before and after every stage
  omnikit eval experiment=emova_tiny "parts=[spoken answers,latency]" answers=cascade   through text, by the same parts
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument(
        "--json", action="store_true", help="machine-readable output, also by group, each figure signed"
    )
    parser.add_argument("--config", help="a fully resolved config instead of overrides")
    parser.add_argument("--scores", help="also write every figure with its items, one JSON object a line (.jsonl)")
    parser.add_argument("--takes", help="also speak a few unseen texts into this folder, where the system can speak")
    parser.add_argument("--html", help="also write a page with the figures and the voice in every style (.html)")
    parser.add_argument("--stages", metavar="RUN", help="one column for each stage of the mind of this run's folder")


def run(args: argparse.Namespace) -> int:
    """Compose, load the trained parts, judge them, print."""
    from omnikit.cli.config import read_config
    from omnikit.data.corpus import read_summary, write_text
    from omnikit.evaluation.figures import markdown
    from omnikit.evaluation.judge import check_corpus
    from omnikit.evaluation.scores import score_records, signed
    from omnikit.evaluation.takes import can_speak, write_takes
    from omnikit.evaluation.voice_tables import voice_tables

    if args.config is not None and args.overrides:
        raise OmnikitError("--config is whole by itself; leave overrides away.")
    config = composed(args.overrides, args.stages) if args.config is None else read_config(args.config)
    corpus = Path(config["data"]["path"])
    check_corpus(corpus)
    if args.stages is not None:
        return _judge_stages(args, config, corpus)
    page = _page_path(args.html)
    system = trained_system(config)
    summary = read_summary(corpus)
    judgement = _judged(system, corpus, config)
    identity = {"path": str(corpus), "seed": summary.seed, "hours": summary.hours, "sha256": summary.content_sha256}
    if args.scores is not None:
        scores = list(score_records(judgement.figures, summary.content_sha256, config["seed"]))
        write_text(Path(args.scores), "".join(json.dumps(score) + "\n" for score in scores))
    if args.takes is not None and can_speak(system):
        write_takes(system, corpus, Path(args.takes), TAKES, config["seed"])
    if page is not None:
        _write_page(page, system, corpus, config, judgement)
    if args.json:
        setting = {
            "weights": config["weights"],
            "seed": config["seed"],
            "num_items": config["num_items"],
            "corpus": identity,
        }
        figures = signed(judgement.figures, summary.content_sha256, config["seed"])
        print(json.dumps({**setting, "figures": figures, "left_out": judgement.left_out}, indent=1))
        return 0
    print(markdown(judgement.figures))
    for table in voice_tables(judgement.figures):
        print(f"\n{table.markdown()}")
    source = f"corpus of {summary.hours:g} h, seed {summary.seed}, {summary.content_sha256[:12]}"
    size = f"n is at most {config['num_items']}, four times that for codebook and probes"
    print(f"\nWeights {config['weights']}; {source}; {size}. Intervals: 95 %, over utterances.")
    _print_left_out(judgement)
    return 0


def composed(overrides: Sequence[str], run: str | None = None) -> dict[str, Any]:
    """The config of an evaluation, with the parts that its weights were trained with where it chooses no others.

    The weights are those of the folder `run`, where it is given and no others are.
    """
    from omnikit.cli.config import compose_config
    from omnikit.training.choices import as_trained

    config = compose_config("eval", overrides)
    if run is not None and not any(item.startswith("weights=") for item in overrides):
        config["weights"] = str(Path(run) / "system")
    trained = as_trained(config, compose_config("eval", []))
    for slot, node in trained.items():
        _say(f"{slot}: {node['component']}, as {config['weights']} was trained")
    return {**config, **trained}


def _judged(system: System, corpus: Path, config: Mapping[str, Any]) -> Judgement:
    """A system judged as a config says: by how many items of which draw, which parts, answering in which way."""
    from omnikit.evaluation.cascade import END_TO_END
    from omnikit.evaluation.judge import judge_all

    return judge_all(
        system,
        corpus,
        num_items=config["num_items"],
        seed=config["seed"],
        parts=config["parts"],
        answers=config.get("answers", END_TO_END),
        progress=_say,
    )


def _judge_stages(args: argparse.Namespace, config: Mapping[str, Any], corpus: Path) -> int:
    """The figures of a run before its first stage of the mind and after each, side by side."""
    from omnikit.data.corpus import read_summary
    from omnikit.evaluation.scores import signed
    from omnikit.evaluation.stages import moments, stage_table, system_at
    from omnikit.training.choices import weight_folders
    from omnikit.wiring import Wire

    if args.scores is not None or args.takes is not None or args.html is not None:
        raise OmnikitError("--stages prints a table or JSON alone; leave --scores, --takes and --html away.")
    run = Path(args.stages)
    wires = [Wire.parse(text) for text in config["system"]["wires"]]
    columns = {}
    for moment in moments(run, weight_folders(config)):
        _say(f"judging {run} {moment.name}")
        system = system_at(moment, wires, config["seed"])
        columns[moment.name] = _judged(system, corpus, config).figures
    summary = read_summary(corpus)
    if args.json:
        told = {name: signed(figures, summary.content_sha256, config["seed"]) for name, figures in columns.items()}
        print(json.dumps(told, indent=1))
        return 0
    print(stage_table(columns))
    print(f"\nRun {run}; corpus of {summary.hours:g} h, seed {summary.seed}, {summary.content_sha256[:12]}.")
    print(f"At most {config['num_items']} items a figure. Intervals: 95 %, over utterances.")
    return 0


def _page_path(html: str | None) -> Path | None:
    """Where the page goes, None where none is asked for; refuses what could not be written."""
    if html is None:
        return None
    path = Path(html)
    if path.suffix.lower() not in (".html", ".htm"):
        raise OmnikitError(f"--html '{html}' must end in .html.")
    if not path.parent.is_dir():
        raise OmnikitError(f"--html '{html}': the folder {path.parent} does not exist.")
    return path


def _write_page(path: Path, system: System, corpus: Path, config: Mapping[str, Any], judgement: Judgement) -> None:
    """The page of the voice; texts are spoken in every style where the system can speak."""
    from omnikit.evaluation.voice_takes import readings
    from omnikit.report.voice_page import write_voice_page

    can_speak = all(slot in system.parts for slot in ("tokenizer", "style", "detokenizer"))
    spoken = readings(system, corpus, PAGE_TEXTS, config["seed"]) if can_speak else []
    parts = ", ".join(node.component for slot, node in system.plan.nodes.items() if slot in system.parts)
    about = {"Weights": str(config["weights"]), "Parts": parts, "Corpus": str(corpus), "Seed": str(config["seed"])}
    size = write_voice_page(path, judgement.figures, spoken, about)
    _say(f"wrote {path} ({size / 1e6:.1f} MB)")


def trained_system(config: Mapping[str, Any]) -> System:
    """The system of a config, of those parts alone that have trained weights.

    `style/reference` is made on the spot: it is a copy of the reference encoder that the detokenizer brings.
    Raises `WeightsError` when there are none.
    """
    from omnikit.serving.style_make import make_style
    from omnikit.system import System
    from omnikit.system_file import read_settings
    from omnikit.training.choices import chosen_nodes, weight_folders
    from omnikit.wiring import Node, Wire, negotiate

    weights = weight_folders(config)
    if not weights:
        raise WeightsError(
            f"{config['weights']} holds no trained part of this system.\nTrain one, or give weights=FOLDER."
        )
    chosen = chosen_nodes(config, weights)
    nodes, wires = {slot: chosen[slot] for slot in weights}, [Wire.parse(text) for text in config["system"]["wires"]]
    system = System.build(negotiate(nodes, wires), weights)
    if "backbone" in weights:
        system.max_new_tokens = read_settings(weights["backbone"].parent).max_new_tokens
    if "style" in weights or "detokenizer" not in weights or chosen["style"].component != REFERENCE:
        return system
    module, _ = make_style(
        "reference", system.part("detokenizer"), Path(config["data"]["path"]), ("voice.train",), None, AVERAGED_S
    )
    nodes["style"] = Node(REFERENCE, module.parameters_given, origin=f"{weights['detokenizer']}")
    parts = {slot: system.part(slot) for slot in system.parts}
    whole = {**parts, "style": module.eval()}
    return System(negotiate(nodes, wires), whole, max_new_tokens=system.max_new_tokens)


def _print_left_out(judgement: Judgement) -> None:
    for name, missing in judgement.left_out.items():
        print(f"Not judged: {name}; these weights lack {', '.join(missing)}.")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
