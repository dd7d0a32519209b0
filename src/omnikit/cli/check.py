"""`omnikit check experiment=…`: negotiate a system and draw it; no weight is loaded or allocated."""

from __future__ import annotations

import argparse
import json

HELP = """Negotiate a system and draw it, without loading weights.

  omnikit check experiment=emova_tiny
  omnikit check experiment=emova_tiny detokenizer.layout=reduced
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Print the graph and the derived values."""
    from omnikit.cli.config import compose_config
    from omnikit.contracts import show
    from omnikit.training.choices import plan_of

    plan, weights = plan_of(compose_config("train", args.overrides))
    if args.json:
        record = {
            "components": {slot: node.component for slot, node in plan.nodes.items()},
            "weights": {slot: str(folder) for slot, folder in weights.items()},
            "wires": [{"wire": str(link.wire), "carries": str(link.port or link.note)} for link in plan.links],
            "derived": [
                {"parameter": f"{item.slot}.{item.parameter}", "value": show(item.value), "from": item.said_by}
                for item in plan.derivations
            ],
        }
        print(json.dumps(record, indent=1))
        return 0
    print(plan.draw())
    print("\nderived")
    print(plan.explain())
    print("\nEvery wire fits.")
    return 0
