"""`omnikit-s3 PART --out FOLDER`: a trained tokenizer without its text decoder, which only training needs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from omnikit.artefacts import component_folder, load_component, read_card, save_component
from omnikit.errors import OmnikitError, WeightsError
from omnikit_s3.tokenizer import S3Tokenizer, without_decoder


def keep_units(part: str, out: Path) -> S3Tokenizer:
    """Write the tokenizer of `part` (a folder, or `system#tokenizer`) to `out` without its decoder; units are the same.

    Raises `WeightsError` for a part that is no `tokenizer/s3`.
    """
    folder = component_folder(part)
    tokenizer = load_component(folder)
    if not isinstance(tokenizer, S3Tokenizer):
        raise WeightsError(f"{part} holds a {read_card(folder)['id']}, no tokenizer/s3.")
    light = without_decoder(tokenizer)
    said = {**read_card(folder).get("provenance", {}), "without": "the text decoder"}
    save_component(light, out, provenance=said)
    return light


def main(argv: Sequence[str] | None = None) -> int:
    """Read, leave the decoder behind, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="omnikit-s3", description=__doc__)
    parser.add_argument("part", metavar="PART", help="what stage=tokenizer wrote: runs/s3/tokenizer/parts/tokenizer")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the tokenizer goes")
    args = parser.parse_args(argv)
    try:
        light = keep_units(args.part, Path(args.out))
    except OmnikitError as error:
        print(f"omnikit-s3: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {light.sizes[0]} units at {float(light.rate):g} Hz, vocabulary {light.vocab_id}")
    return 0
