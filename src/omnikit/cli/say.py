"""`omnikit say "text" --style emotion=sad,pitch=low --out x.wav`: speak a text."""

from __future__ import annotations

import argparse

from omnikit.cli.speaking import add_speaking_arguments, finish, open_system, parse_style

HELP = """Speak a text in a style. Prints the style that was used and who decided it.

  omnikit say "the red star is big" --style emotion=sad,pitch=low --out x.wav
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("text", help="what to say (the tiny system knows the words of its corpus)")
    add_speaking_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Speak and write the sound."""
    style = parse_style(args.style)
    return finish(open_system(args).say(args.text, style=style, seed=args.seed), args.out)
