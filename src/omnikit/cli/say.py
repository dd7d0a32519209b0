"""`omnikit say "text" --style emotion=sad,pitch=low --out x.wav`: speak a text."""

from __future__ import annotations

import argparse

from omnikit.cli.speaking import add_speaking_arguments, asked_labels, asked_style, finish, open_system

HELP = """Speak a text in a style. Prints the style that was used and who decided it.

  omnikit say "the red star is big" --style emotion=sad,pitch=low --out x.wav
  omnikit say "the red star is big" --style emotion=happy,speed=1.1 --out x.wav
  omnikit say "the red star is big" --reference voice.wav --out x.wav
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("text", help="what to say (the tiny system knows the words of its corpus)")
    add_speaking_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Speak and write the sound."""
    asked_labels(args)
    system = open_system(args)
    how = {"seed": args.seed, "max_new_tokens": args.max_new_tokens}
    return finish(system.say(args.text, style=asked_style(args, system), **how), args.out)
