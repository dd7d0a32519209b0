"""`omnikit probe tokenizer=…`: what a tokenizer's units keep and leak, as a table, JSON and a picture."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnikit.errors import OmnikitError, WeightsError

if TYPE_CHECKING:
    from omnikit.evaluation.leakage_table import Report
    from omnikit.system import System

HELP = """Probe a speech tokenizer: what small classifiers read of phone, speaker, gender, emotion, pitch and speed from
its units, from its features before the bottleneck and from log-mels; how much of the codebook is used, what it costs,
how units go with phones, and how stable they are. Prints Markdown; progress goes to stderr.

  omnikit probe                                                the tokenizer that ships with omnikit
  omnikit probe tokenizer=spiral_fsq weights=runs/emova_tiny/system data.path=corpus
  omnikit probe tokenizer=my_codec weights=null                as it is created (random, unless it brings weights)
  omnikit probe weights=runs/vq/system name=vq --json vq.json --picture vq.png
  omnikit probe --compare fsq.json vq.json --picture both.png  tokenizers side by side
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="the report as JSON, in FILE or instead of the table"
    )
    parser.add_argument("--picture", metavar="FILE.png", help="a picture: accuracy above chance, factor by factor")
    parser.add_argument("--compare", nargs="+", metavar="FILE.json", help="reports that --json wrote, in one table")


def run(args: argparse.Namespace) -> int:
    """Probe, or read reports; print, and write what was asked for."""
    from omnikit.evaluation.leakage_table import compare_table, read_report

    if args.picture and not args.picture.lower().endswith(".png"):
        raise OmnikitError(f"--picture takes a file that ends in .png, not '{args.picture}'.")
    if args.json and "=" in args.json:
        raise OmnikitError(f"--json takes a file, not '{args.json}'. Put --json behind the overrides, or name a file.")
    if args.compare:
        if args.overrides or args.json:
            raise OmnikitError("--compare takes the files of reports and nothing is probed; leave the rest out.")
        reports = [read_report(Path(path)) for path in args.compare]
        print(compare_table(reports))
    else:
        reports = [_probe(args.overrides, args.json)]
    if args.picture:
        from omnikit.report.leakage_picture import draw_reports

        draw_reports(reports, Path(args.picture))
        _say(f"wrote {args.picture}")
    return 0


def _probe(overrides: Sequence[str], file: str | None) -> Report:
    """Probe what the overrides choose, print it and write its JSON; a file's folder is made before the work starts."""
    from omnikit.cli.config import compose_config
    from omnikit.data.corpus import read_summary
    from omnikit.evaluation.judge import check_corpus
    from omnikit.evaluation.leakage import Setting, probe_tokenizer
    from omnikit.evaluation.leakage_table import Report

    config = compose_config("probe", overrides)
    corpus = Path(config["data"]["path"])
    check_corpus(corpus)
    if file not in (None, "-"):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    system = tokenizer_alone(config)
    summary = read_summary(corpus)
    about = {
        "name": config["name"] or config["tokenizer"]["component"].split("/")[1],
        "tokenizer": config["tokenizer"]["component"],
        "weights": config["tokenizer"].get("weights") or config["weights"],
        "vocab_id": system.part("tokenizer").vocab_id,
        "seed": config["seed"],
        "corpus": {"seed": summary.seed, "hours": summary.hours, "sha256": summary.content_sha256},
    }
    setting = Setting(seed=config["seed"], **config["probe"])
    leakage = probe_tokenizer(system, corpus, setting, about, _say)
    data = leakage.as_dict()
    if file not in (None, "-"):
        Path(file).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    report = Report.from_dict(data)
    print(json.dumps(data, indent=1) if file == "-" else _page(report))
    return report


def _page(report: Report) -> str:
    from omnikit.evaluation.leakage_table import figure_table, probe_table, reader_table

    about = report.about
    corpus = about["corpus"]
    setting = (
        f"{about['name']}: {about['tokenizer']}, weights {about['weights']}, vocabulary {about['vocab_id']}; corpus of "
        f"{corpus['hours']:g} h, seed {corpus['seed']}, {corpus['sha256'][:12]}; {about['num_train']} utterances to "
        f"learn from, {about['num_test']} of {about['num_test_voices']} voices to read; seed {about['seed']}."
    )
    how = (
        "Balanced accuracy in %, the strongest reader of each view [95 % over voices, for all readers together]. "
        "Voices are unseen by the probe, but for speaker; no text is in both sets."
    )
    return "\n\n".join([probe_table(report), reader_table(report), figure_table(report), setting, how])


def tokenizer_alone(config: Mapping[str, Any]) -> System:
    """A system of the config's tokenizer alone, trained; with `weights=null` as it is created, drawn by `seed`.

    Raises `WeightsError` when the weights that are named hold no such tokenizer.
    """
    import torch

    from omnikit.system import System
    from omnikit.training.choices import chosen_nodes, weight_folders
    from omnikit.wiring import negotiate

    alone = {"tokenizer": config["tokenizer"], "weights": config["weights"]}
    weights = weight_folders(alone)
    if not weights and config["weights"]:
        component = config["tokenizer"]["component"]
        raise WeightsError(
            f"{config['weights']} holds no trained {component}.\nGive weights=FOLDER of a system that does, or "
            "weights=null to probe it as it is created (random weights, unless it brings its own)."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        return System.build(negotiate(chosen_nodes(alone, weights), []), weights)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
