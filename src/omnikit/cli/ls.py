"""`omnikit ls [SLOT] [--json]`: every registered component; what cannot be used is listed with its reason."""

from __future__ import annotations

import argparse
import json

from omnikit.registry import available, entries, fault_of, resolve, slot_entries, slots

HELP = """List the components of every slot, or of one, and what of them cannot be used.

  omnikit ls tokenizer
  OMNIKIT_PLUGINS=none omnikit ls               without what other distributions bring
  omnikit ls --plugin ./mine.py                 with what a file registers

Components of other distributions are imported, to see whether they can be; omnikit's own are not.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("slot", nargs="?", help="only this slot, e.g. tokenizer")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    known = entries()
    ids = available(args.slot)
    ids += [] if args.slot else sorted(set(known) - set(ids))
    rows = [_row(component_id) for component_id in ids]
    rows += [
        {"id": name, "target": point.target, "distribution": point.distribution, "version": point.version}
        | {"broken": point.fault}
        for name, point in slot_entries().items()
        if point.fault and not args.slot
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    width = max((len(row["id"]) for row in rows), default=0)
    for row in rows:
        state = f"broken: {row['broken']}" if row["broken"] else row["target"]
        print(f"{row['id']:<{width}}   {row['distribution']} {row['version']}   {state}".rstrip())
    missing = [slot for slot in (slots() if args.slot is None else ()) if not available(slot)]
    if missing:
        print(f"no component yet: {', '.join(missing)}")
    return 0


def _row(component_id: str) -> dict[str, str]:
    point = entries().get(component_id)
    if point is None:
        cls = resolve(component_id)
        target = f"{cls.__module__}:{cls.__qualname__}"
        return {"id": component_id, "target": target, "distribution": "this process", "version": "", "broken": ""}
    return {
        "id": component_id,
        "target": point.target,
        "distribution": point.distribution,
        "version": point.version,
        "broken": fault_of(component_id),
    }
