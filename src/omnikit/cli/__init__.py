"""The command line: one file a verb; a verb is imported only when it is used.

Exit codes: 0 done, 2 bad input (one message of at most eight lines), 3 failed runs, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from omnikit.errors import OmnikitError, closest

VERBS = {
    "quickstart": "hear, see and speak in one go, then swap a part; ends with report.html",
    "reply": "answer a spoken or written question about a picture, aloud",
    "say": "speak a text in a style",
    "ls": "list components, of one slot or of all",
    "describe": "show a component: where it comes from, parameters, contract",
    "check": "negotiate a system and draw it, without loading weights",
    "train": "train one stage",
    "eval": "judge a trained system on unseen texts and print the table",
    "probe": "what a tokenizer's units keep, cost and leak, as a table and a picture",
    "data": "make or check a corpus, or turn recordings into units",
    "style": "list, make, mix, export and import styles",
    "load": "turn weights that others published into trained parts",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        import omnikit

        print(f"omnikit {omnikit.__version__}")
        return 0
    if words[0] not in VERBS:
        near = closest(words[0], VERBS)
        print(f"omnikit has no verb '{words[0]}'." + (f" Did you mean '{near}'?" if near else ""), file=sys.stderr)
        print(_overview(), file=sys.stderr)
        return 2
    verb = importlib.import_module(f"omnikit.cli.{words[0]}")
    parser = argparse.ArgumentParser(
        prog=f"omnikit {words[0]}", description=verb.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb.add_arguments(parser)
    try:
        return verb.run(parser.parse_args(words[1:]))
    except OmnikitError as error:
        if traceback:
            raise
        print(f"omnikit {words[0]}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _overview() -> str:
    rows = "\n".join(f"  {name:<11} {about}" for name, about in VERBS.items())
    return (
        f"usage: omnikit VERB …\n\n{rows}\n\n`omnikit VERB --help` tells more; --traceback shows where an error arose."
    )
