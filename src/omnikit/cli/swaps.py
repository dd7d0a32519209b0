"""`omnikit swaps [slot/name]`: every part beside every other, in tiny systems that learn a step and answer."""

from __future__ import annotations

import argparse
import sys

HELP = """Try every tokenizer, emitter, detokenizer, style and input style beside every other, and print the page.

  omnikit swaps > docs/swap_matrix.md          of everything that is installed
  omnikit swaps tokenizer/my_codec             what one part goes with
  omnikit swaps style/mine --plugin ./mine.py

Each system is tiny: built, taught one step, asked for one answer with sound, on the CPU. Pairs that negotiation refuses
are listed with the reason. Exits with 3 where a system fails.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("id", nargs="?", help="only systems with this component, e.g. tokenizer/my_codec")


def run(args: argparse.Namespace) -> int:
    """Try the systems, saying on stderr what comes of each, and print the page."""
    from omnikit.evaluation.swap_matrix import choices, cover_of, outcomes
    from omnikit.evaluation.swap_table import page_of

    cover = cover_of(choices(args.id))
    total = len(cover.rows) + len(cover.impossible)
    found = []
    for outcome in outcomes(cover):
        found.append(outcome)
        print(f"{len(found)}/{total} {' '.join(outcome.row.values())}: {outcome}", file=sys.stderr)
    print(page_of(found), end="")
    return 3 if any(outcome.verdict == "failed" for outcome in found) else 0
