"""`omnikit reply --audio question.wav [--image scene.png …] --out reply.wav`: one spoken answer."""

from __future__ import annotations

import argparse

from omnikit.cli.speaking import add_speaking_arguments, asked_labels, asked_style, finish, open_system
from omnikit.errors import OmnikitError

HELP = """Answer a question about a picture, or several, aloud. Prints the turn as JSON: what was heard, the answer, its
style and who decided it, whether it was cut short (--max-new-tokens), and the seconds spent in each part.

  omnikit reply --image scene.png --audio question.wav --out reply.wav
  omnikit reply --image first.png second.png --audio question.wav --out reply.wav
  omnikit reply --image scene.png --text "what color is the star?" --out reply.wav --style emotion=happy
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--image", nargs="+", metavar="FILE", help="a picture, or several in their order")
    parser.add_argument("--audio", help="the spoken question")
    parser.add_argument("--text", help="the written question, instead of --audio")
    add_speaking_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Answer and write the sound."""
    asked_labels(args)
    if (args.audio is None) == (args.text is None):
        raise OmnikitError("Give the question either as --audio FILE or as --text 'words'.")
    system = open_system(args)
    how = {"seed": args.seed, "max_new_tokens": args.max_new_tokens}
    asked = {"image": args.image, "audio": args.audio, "text": args.text, "style": asked_style(args, system)}
    return finish(system.reply(**asked, **how), args.out)
