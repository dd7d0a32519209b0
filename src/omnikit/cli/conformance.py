"""`omnikit conformance slot/name [name=value …] [--badge FILE] [--json]`: every promise of a slot, held and told."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = """Hold a component to every promise of its slot: contract, lengths, generators, files, threads, edge inputs …

  omnikit conformance tokenizer/my_codec
  omnikit conformance tokenizer/spiral_fsq levels=[5,4] layers=[1,1] --badge badge.json
  omnikit conformance style/mine --plugin ./mine.py

Parameters after the id keep the component small; what a system derives gets a stand-in. Exits with 3 where a promise
is broken. `pytest --omnikit-conformance tokenizer/my_codec` runs the same, one test a promise.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("id", help="component id, e.g. tokenizer/my_codec")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="constructor parameters, values as in YAML")
    parser.add_argument("--badge", metavar="FILE", help="write a badge (JSON for shields.io) there")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Run the cases and say what came of each."""
    from omnikit.testing import cases, subject
    from omnikit.testing.reports import badge_of, lines_of, parse_parameters, record_of

    held = subject(args.id, **parse_parameters(args.parameters))
    results = [case.run(held) for case in cases(args.id.split("/")[0])]
    if args.badge:
        Path(args.badge).write_text(json.dumps(badge_of(results), indent=1) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(record_of(args.id, held.parameters, results), indent=1, default=str))
    else:
        print("\n".join(lines_of(results)))
    return 3 if any(result.failed for result in results) else 0
