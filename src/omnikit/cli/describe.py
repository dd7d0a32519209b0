"""`omnikit describe slot/name [--json]`: what a component is, its parameters, and what it needs and gives."""

from __future__ import annotations

import argparse
import json

from omnikit.contracts import show
from omnikit.registry import describe

HELP = "Show a component: where it comes from, its parameters with defaults, its contract and its documentation."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("id", help="component id, e.g. tokenizer/spiral_fsq")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Print the description."""
    told = describe(args.id)
    needs = {name: str(port) for name, port in told.contract.needs.items()}
    gives = {name: str(port) for name, port in told.contract.gives.items()}
    if args.json:
        record = {
            "id": told.id,
            "target": told.target,
            "distribution": told.distribution,
            "version": told.version,
            "parameters": told.parameters,
            "needs": needs,
            "gives": gives,
            "ignores": sorted(told.contract.ignores),
            "causal": told.contract.causal,
            "lookahead_ms": told.contract.lookahead_ms,
            "doc": told.doc,
        }
        print(json.dumps(record, indent=1, default=str))
        return 0
    print(f"{told.id}   ({told.target}, {told.distribution} {told.version})")
    print("\n".join(f"  needs {name}: {port}" for name, port in needs.items()))
    print("\n".join(f"  gives {name}: {port}" for name, port in gives.items()))
    print("parameters")
    width = max((len(name) for name in told.parameters), default=0)
    for name, value in told.parameters.items():
        print(f"  {name:<{width}} = {show(value)}")
    print(f"\n{told.doc}")
    return 0
