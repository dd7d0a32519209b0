"""`omnikit scan PATH [--json]`: what is unsafe in a folder of weights, without loading any of it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

HELP = """Say what is unsafe in a folder of weights, or in one file; nothing of it is loaded or run.

  omnikit scan downloads/some_model
  omnikit scan runs/emova_tiny/system

Finds pickles by their bytes, code, links that lead out, archives that unpack elsewhere, safetensors headers that lie,
settings that ask for code, component cards with unknown ids or another sha256. Exits with 3 where it finds any.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("path", help="a folder or a file")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Print the findings."""
    from omnikit.scan import scan

    findings, count = scan(Path(args.path).expanduser())
    if args.json:
        print(json.dumps({"files": count, "findings": [dataclasses.asdict(item) for item in findings]}, indent=1))
    else:
        for finding in findings:
            print(f"✗ {finding.path}\n    {finding.problem}\n    {finding.advice}")
        print(f"{count} files read, {len(findings)} findings" + ("" if findings else ": nothing unsafe"))
    return 3 if findings else 0
