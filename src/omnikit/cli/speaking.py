"""What the verbs that speak share: which system, which style, and how an answer is shown and saved."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from omnikit.errors import OmnikitError

if TYPE_CHECKING:
    from omnikit.system import Reply, System


def add_speaking_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of a verb that speaks."""
    parser.add_argument("--out", required=True, help="the sound file to write (.wav or .flac)")
    parser.add_argument(
        "--style", default="", help="factor=value pairs, e.g. emotion=sad,pitch=low; the rest is decided for you"
    )
    parser.add_argument("--system", default="tiny", help="a folder of trained parts, or a tag (default: tiny)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes on CPU")


def parse_style(text: str) -> dict[str, str]:
    """`emotion=sad,pitch=low` as a mapping. Raises `OmnikitError` for anything else."""
    style = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        factor, equals, value = item.partition("=")
        if not equals or not factor or not value:
            raise OmnikitError(
                f"--style '{text}' cannot be read at '{item}'.\nWrite factor=value pairs: --style emotion=sad,pitch=low"
            )
        style[factor.strip()] = value.strip()
    return style


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
