"""What the verbs that speak share: which system, which style, and how an answer is shown and saved."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from omnikit.errors import OmnikitError
from omnikit.slots.style_factors import parse_labels

if TYPE_CHECKING:
    from omnikit.system import Reply, System
    from omnikit.types import Labels, Style


def add_speaking_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of a verb that speaks."""
    parser.add_argument("--out", required=True, help="the sound file to write (.wav or .flac)")
    style = parser.add_mutually_exclusive_group()
    style.add_argument(
        "--style", default="", help="factor=value pairs, e.g. emotion=sad,speed=1.1; the rest is decided for you"
    )
    style.add_argument("--reference", metavar="FILE", help="speak in the style of this recording")
    style.add_argument("--style-file", metavar="FILE", help="speak in the style of this file (`omnikit style mix`)")
    style.add_argument("--style-text", metavar="WORDS", help="speak as described, e.g. 'a slow sad man'")
    parser.add_argument("--system", default="tiny", help="a folder of trained parts, or a tag (default: tiny)")
    parser.add_argument(
        "--max-new-tokens", type=int, metavar="N", help="the longest answer, in tokens (default: as the system says)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes on CPU")


def asked_labels(args: argparse.Namespace) -> Labels:
    """The labels of `--style`, none where the style is given otherwise. Raises `OmnikitError` for what is no label."""
    return parse_labels(args.style)


def asked_style(args: argparse.Namespace, system: System) -> Labels | Style:
    """What the arguments ask for: labels to put over the model's own, or a whole style."""
    if args.reference is not None:
        return system.style_of(reference=args.reference)
    if args.style_text is not None:
        return system.style_of(description=args.style_text)
    if args.style_file is not None:
        from omnikit.serving.style_files import read_one_style

        return read_one_style(Path(args.style_file))
    return asked_labels(args)


def open_system(args: argparse.Namespace) -> System:
    """The system that the arguments name; refuses an output path that could not be written."""
    out = Path(args.out)
    if out.suffix.lower() not in (".wav", ".flac"):
        raise OmnikitError(f"--out '{args.out}' must end in .wav or .flac.")
    if not out.parent.is_dir():
        raise OmnikitError(f"--out '{args.out}': the folder {out.parent} does not exist.")
    from omnikit.system import System

    return System.load(args.system)


def finish(reply: Reply, out: str) -> int:
    """Print the turn as JSON and write its sound."""
    if reply.audio is None:
        print(json.dumps({**reply.as_dict(), "out": None, "raw": reply.turn.raw}, indent=1))
        raise OmnikitError(
            "The model wrote no units for this input, so there is nothing to speak; no file was written."
        )
    from omnikit.data.media import write_audio

    write_audio(out, reply.audio.wave[0].numpy(), reply.audio.sample_rate)
    print(json.dumps({**reply.as_dict(), "out": out}, indent=1))
    return 0
