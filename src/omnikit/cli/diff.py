"""`omnikit diff RUN RUN`: what two runs were asked, what they ran on, and what came out, where they differ."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HELP = """Show in what two runs differ: config, environment, results, cost. A run is a stage's folder or a sweep's cell.

  omnikit diff runs/a/tokenizer runs/b/tokenizer
  omnikit diff runs/ablations/x-tiny/cells/1f0… runs/ablations/x-tiny/cells/9c2… --json
"""
WIDEST = 44


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("one", help="folder of a run")
    parser.add_argument("other", help="folder of another run")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from omnikit.ablation.compare import differences

    found = differences(Path(args.one), Path(args.other))
    if args.json:
        print(json.dumps(found, indent=1, default=str))
        return 0
    for group, pairs in found.items():
        print(f"{group}: {'no difference' if not pairs else ''}".rstrip())
        width = max(map(len, pairs), default=0)
        for key, (first, second) in pairs.items():
            print(f"  {key:<{width}}  {_shown(first)}  →  {_shown(second)}")
    return 0


def _shown(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
