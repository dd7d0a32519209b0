"""The command line: one file a verb; a verb is imported only when it is used.

Exit codes: 0 done, 2 bad input (one message of at most eight lines), 3 failed runs or checks, 130 interrupted,
141 nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from omnikit.errors import OmnikitError, closest, naming_extras
from omnikit.plugins import add_files, load_files

VERBS = {
    "quickstart": "hear, see and speak in one go, then swap a part; ends with report.html",
    "reply": "answer a spoken or written question about a picture, aloud",
    "say": "speak a text in a style",
    "ls": "list components, of one slot or of all",
    "describe": "show a component: where it comes from, parameters, contract",
    "check": "negotiate a system and draw it, without loading weights",
    "info": "count parameters by part, say what every stage learns and the memory that it takes",
    "train": "train one stage",
    "ablate": "run an ablation study: from a question to finished runs",
    "why": "say which file, override, contract or trained part set a value",
    "diff": "show in what two runs differ",
    "repeat": "do a run again and compare every number",
    "report": "turn a sweep into tables, plots and a page to listen on",
    "eval": "judge a trained system on unseen texts and print the table",
    "probe": "what a tokenizer's units keep, cost and leak, as a table and a picture",
    "data": "make or check a corpus, or turn recordings into units",
    "style": "list, make, mix, export and import styles",
    "load": "turn weights that others published into trained parts",
    "new": "write a plugin: a distribution with one working component",
    "conformance": "hold a component to every promise of its slot",
    "swaps": "try every part beside every other in tiny systems, and print which go together",
    "export": "write a tokenizer or a detokenizer as an ONNX file",
    "scan": "say what is unsafe in a folder of weights",
    "ckpt": "list, take out, graft and compare the parts of trained systems",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in words
    words, files = _without_plugins([word for word in words if word != "--traceback"])
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
    try:
        add_files(files)
        with naming_extras(f"omnikit {words[0]}"):
            code = _run(words)
            sys.stdout.flush()
            return code
    except OmnikitError as error:
        if traceback:
            raise
        named = str(error).startswith(f"omnikit {words[0]} ")
        print(error if named else f"omnikit {words[0]}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return 141
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _nobody_reads() -> bool:
    """Whether what reads the output has seen enough, like `head`: a line more does not get there either."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _run(words: Sequence[str]) -> int:
    """Run the verb `words[0]` with its arguments."""
    verb = importlib.import_module(f"omnikit.cli.{words[0]}")
    parser = argparse.ArgumentParser(
        prog=f"omnikit {words[0]}", description=verb.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb.add_arguments(parser)
    load_files()
    try:
        arguments = parser.parse_intermixed_args(words[1:])  # overrides before, between and after options
    except TypeError:  # the parser has verbs of its own
        arguments = parser.parse_args(words[1:])
    return verb.run(arguments)


def _without_plugins(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without `--plugin FILE` and `--plugin=FILE`, and those files."""
    rest: list[str] = []
    files: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word == "--plugin":
            files.append(next(remaining, ""))
        elif word.startswith("--plugin="):
            files.append(word.removeprefix("--plugin="))
        else:
            rest.append(word)
    return rest, files


def _overview() -> str:
    rows = "\n".join(f"  {name:<11} {about}" for name, about in VERBS.items())
    return (
        f"usage: omnikit VERB …\n\n{rows}\n\n`omnikit VERB --help` tells more; --traceback shows where an error arose; "
        "--plugin FILE.py registers the parts of a file."
    )
