"""`omnikit why key …`: which file, override, contract or trained part set a value."""

from __future__ import annotations

import argparse
import json

HELP = """Say what set a value of a run's config: every place in order, the last one wins; then what contracts derive.

  omnikit why tokenizer.levels experiment=emova_tiny
  omnikit why backbone.vocab_id experiment=emova_tiny weights=tiny
  omnikit why stage.settings.optim.steps experiment=emova_tiny stage=sft recipe.sft.optim.steps=100
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("key", help="a key of the config, e.g. tokenizer.levels")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Look the key up and print its history."""
    from omnikit.cli.origins import history

    found = history(args.key, args.overrides)
    if args.json:
        record = {"key": args.key, "value": found.value, "set_by": [vars(item) for item in found.origins]}
        print(json.dumps(record, indent=1, default=str))
        return 0
    print(f"{args.key} = {found.value}")
    for origin in reversed(found.origins):
        print(f"  {origin.where}: {origin.value}")
    return 0
