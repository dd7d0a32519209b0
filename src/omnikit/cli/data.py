"""`omnikit data make` makes a synthetic corpus, `check` says what is wrong with one, `units` turns sound into units.

`shard` writes a corpus as shards.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HELP = "make a synthetic speech corpus, check one, or turn recordings into units"

Progress = Callable[[int, int], None]
_PLAIN_STEPS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `make`, `check`, `units` and `shard`."""
    verbs = parser.add_subparsers(dest="data_verb", required=True, metavar="{make,check,units,shard}")
    make = verbs.add_parser("make", help="make a corpus (resumable; same seed, same bytes)")
    make.add_argument("--out", required=True, metavar="DIR", help="folder of the corpus, new or interrupted")
    make.add_argument("--hours", required=True, type=float, metavar="H", help="hours of speech, for example 0.5 or 12")
    make.add_argument("--seed", type=int, default=1, metavar="S", help="seed of everything random (default: 1)")
    make.add_argument("--processes", type=int, default=None, metavar="N", help="worker processes (default: all cores)")
    check = verbs.add_parser("check", help="check a corpus: schema, sound, pictures, splits")
    check.add_argument("path", metavar="PATH", help="a folder of JSONL files, or one JSONL file")
    check.add_argument("--json", action="store_true", help="print the problems as one JSON list")
    units = verbs.add_parser("units", help="turn recordings into units (resumable; same bytes however interrupted)")
    units.add_argument(
        "--tokenizer", required=True, metavar="REF", help="as in omnikit.load: tiny, runs/x/system, FOLDER"
    )
    where = units.add_mutually_exclusive_group(required=True)
    where.add_argument("--audio", metavar="DIR", help="every sound file below this folder")
    where.add_argument("--corpus", metavar="DIR", help="every recording that the JSONL files of this folder name")
    units.add_argument("--out", required=True, metavar="DIR", help="folder of the units, new or interrupted")
    units.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="bfloat16: some ids differ"
    )
    units.add_argument(
        "--max-seconds", type=float, default=60.0, metavar="S", help="longer files are refused (default: 60)"
    )
    units.add_argument("--device", default="cpu", help="where the tokenizer runs: cpu, cuda, … (default: cpu)")
    shard = verbs.add_parser("shard", help="write a corpus as shards to stream from (data.shards of training)")
    shard.add_argument("--corpus", required=True, metavar="DIR", help="a folder of JSONL files")
    shard.add_argument("--out", required=True, metavar="DIR", help="folder of the shards, new or without any")
    shard.add_argument("--form", choices=("tar", "parquet", "jsonl"), default="tar", help="default: tar")
    shard.add_argument(
        "--units", metavar="DIR", help="units of the recordings: a folder of data units, or CORPUS/units/VOCABULARY"
    )
    shard.add_argument("--records", type=int, default=1000, metavar="N", help="records of a shard (default: 1000)")


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A progress callback (done, total): a bar on a terminal, else a plain line on stderr every 5 %."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    printed = -1

    def show(done: int, total: int) -> None:
        nonlocal printed
        step = _PLAIN_STEPS * done // max(total, 1)
        if step > printed:
            printed = step
            print(f"{what}: {100 * done // max(total, 1)} %", file=sys.stderr, flush=True)

    yield show


def _make(args: argparse.Namespace) -> int:
    from omnikit.data.corpus import make_corpus

    with progress_bar("Making the corpus") as progress:
        summary = make_corpus(args.out, args.hours, args.seed, args.processes, progress)
    print(f"{'file':24s} {'records':>8s} {'hours':>8s} {'texts':>8s}")
    for name, file in summary.files.items():
        print(f"{name + '.jsonl':24s} {file.records:8d} {file.hours:8.2f} {file.texts:8d}")
    print(f"{summary.folder}: seed {summary.seed}, content {summary.content_sha256}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from omnikit.data.check import check_corpus

    with progress_bar("Checking the corpus") as progress:
        problems = check_corpus(Path(args.path), progress)
    if args.json:
        fields = ("file", "line", "field", "what")
        print(json.dumps([{field: getattr(problem, field) for field in fields} for problem in problems], indent=1))
    else:
        for problem in problems:
            print(problem)
        print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'} in {args.path}")
    return 2 if problems else 0


def _part_of(reference: str) -> str:
    """A reference to a whole system as one to its tokenizer, so that nothing else is loaded; others unchanged."""
    from omnikit.artefacts import CARD, weights_root
    from omnikit.errors import UnknownName

    try:
        folder = Path(reference) if Path(reference).is_dir() else weights_root(reference)
    except UnknownName:
        return reference
    return reference if (folder / CARD).is_file() else f"{reference}#tokenizer"


def _units(args: argparse.Namespace) -> int:
    import torch

    from omnikit.data.media import recordings_in
    from omnikit.errors import OmnikitError
    from omnikit.slots.tokenizer import SpeechTokenizer
    from omnikit.system import load
    from omnikit.training.extract import recordings_of
    from omnikit.training.unit_folder import FAILURES, extract_folder

    tokenizer = load(_part_of(args.tokenizer))
    if not isinstance(tokenizer, SpeechTokenizer):
        raise OmnikitError(
            f"{args.tokenizer} is a {type(tokenizer).__name__}, no tokenizer; try {args.tokenizer}#tokenizer."
        )
    try:
        tokenizer = tokenizer.to(args.device)
    except (RuntimeError, AssertionError) as error:
        raise OmnikitError(f"Cannot work on --device {args.device}: {str(error).splitlines()[0]}") from error
    tokenizer.precision = getattr(torch, args.precision)
    root = Path(args.audio or args.corpus)
    paths = recordings_in(root) if args.audio else recordings_of(root)
    with progress_bar("Extracting units") as progress:
        made = extract_folder(tokenizer, root, paths, Path(args.out), max_s=args.max_seconds, progress=progress)
    for path, reason in made.failures.items():
        print(f"left out {path}: {reason.splitlines()[0]}", file=sys.stderr)
    print(
        f"{made.folder}: {made.num_units} units of {made.num_recordings} recordings, {made.seconds / 3600:.2f} h; "
        f"{len(made.failures)} left out" + (f", reasons in {made.folder / FAILURES}" if made.failures else "")
    )
    return 2 if made.failures else 0


def _shard(args: argparse.Namespace) -> int:
    from omnikit.data.shards_write import vocabulary_of, write_shards
    from omnikit.data.units import UnitStore

    units = Path(args.units) if args.units else None
    made = write_shards(
        Path(args.corpus),
        Path(args.out),
        args.form,
        units=None if units is None else UnitStore.at(units),
        vocab_id="" if units is None else vocabulary_of(units),
        num_records=args.records,
    )
    for name, number in made.records.items():
        print(f"{name:24s} {number:8d} records")
    print(f"{made.folder}: {made.num_shards} shards; train with \"data.shards=['{made.folder}/*.{args.form}']\"")
    return 0


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks; 0 when all is well, 2 when `check` found problems or `units` left files out."""
    verbs = {"make": _make, "check": _check, "units": _units, "shard": _shard}
    return verbs[args.data_verb](args)
