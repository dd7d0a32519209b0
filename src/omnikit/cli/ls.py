"""`omnikit ls [SLOT] [--json]`: every registered component, read from metadata without importing any."""

from __future__ import annotations

import argparse
import json

from omnikit.registry import available, entries

HELP = "List the registered components of every slot, or of one."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("slot", nargs="?", help="only this slot, e.g. tokenizer")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    known = entries()
    rows = []
    for component_id in available(args.slot):
        entry = known.get(component_id)
        rows.append(
            {
                "id": component_id,
                "target": entry.target if entry else "",
                "distribution": entry.distribution if entry else "this process",
                "version": entry.version if entry else "",
            }
        )
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    width = max((len(row["id"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['id']:<{width}}   {row['distribution']} {row['version']}   {row['target']}")
    return 0
