"""`omnikit data make` makes a synthetic corpus, `omnikit data check` says what is wrong with one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HELP = "make a synthetic speech corpus, or check one"

Progress = Callable[[int, int], None]
_PLAIN_STEPS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `make` and `check`."""
    verbs = parser.add_subparsers(dest="data_verb", required=True, metavar="{make,check}")
    make = verbs.add_parser("make", help="make a corpus (resumable; same seed, same bytes)")
    make.add_argument("--out", required=True, metavar="DIR", help="folder of the corpus, new or interrupted")
    make.add_argument("--hours", required=True, type=float, metavar="H", help="hours of speech, for example 0.5 or 12")
    make.add_argument("--seed", type=int, default=1, metavar="S", help="seed of everything random (default: 1)")
    make.add_argument("--processes", type=int, default=None, metavar="N", help="worker processes (default: all cores)")
    check = verbs.add_parser("check", help="check a corpus: schema, sound, pictures, splits")
    check.add_argument("path", metavar="PATH", help="a folder of JSONL files, or one JSONL file")
    check.add_argument("--json", action="store_true", help="print the problems as one JSON list")


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


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks; 0 when all is well, 2 when `check` found problems."""
    return _make(args) if args.data_verb == "make" else _check(args)
