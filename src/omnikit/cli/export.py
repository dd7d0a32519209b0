"""`omnikit export REFERENCE --onnx OUT`: a trained part as a file for another runtime."""

from __future__ import annotations

import argparse
from pathlib import Path

from omnikit.errors import OmnikitError

HELP = """Write a tokenizer's encode or a detokenizer's decode as an ONNX file; the number of samples or units is free.

  omnikit export tokenizer/spiral_fsq.tiny --onnx encode.onnx
  omnikit export runs/emova_tiny/system#detokenizer --onnx decode.onnx --without-noise

Inputs, outputs and how to call them: docs/components.md. Needs pip install 'omnikit-core[onnx]'.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("reference", help="a trained part: tokenizer/spiral_fsq.tiny, tiny#tokenizer, a folder …")
    parser.add_argument("--onnx", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--without-noise", action="store_true", help="export what a part that draws random numbers gives without them"
    )


def run(args: argparse.Namespace) -> int:
    """Load the part and write the file."""
    from omnikit.export import onnx
    from omnikit.system import System, load

    part = load(args.reference)
    if isinstance(part, System):
        raise OmnikitError(
            f"{args.reference} is a whole system; one part is exported at a time: {args.reference}#tokenizer, "
            f"{args.reference}#detokenizer."
        )
    path = onnx(part, Path(args.onnx), without_noise=args.without_noise)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
