"""Use one component by itself: units of a recording, without a system, a config or a training framework.

    python examples/one_component_alone.py question.wav
    python examples/one_component_alone.py question.wav --weights tokenizer/spiral_fsq.tiny

Without `--weights` the tokenizer is small and new: its units say how it works, and nothing about the words.
"""

from __future__ import annotations

import argparse
import sys

import torch

import omnikit
from omnikit.data.media import load_audio


def main(arguments: list[str] | None = None) -> int:
    """Print the units of a WAV, FLAC, OGG or MP3 file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", help="a recording at any sample rate")
    parser.add_argument("--weights", help="trained weights: a tag or a folder")
    args = parser.parse_args(arguments)
    try:
        if args.weights:
            tokenizer = omnikit.load(args.weights)
        else:
            torch.manual_seed(0)
            sizes = {"num_mels": 80, "widths": [96, 192, 256, 256], "layers": [2, 4], "heads": [4, 4]}
            tokenizer = omnikit.create("tokenizer/spiral_fsq", **sizes, position=[32, 16], decoder_dim=128)
        contract = tokenizer.contract(**tokenizer.parameters_given)
        units = tokenizer.encode(load_audio(args.audio, contract.needs["audio"].sample_rate))
    except omnikit.OmnikitError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{contract.needs['audio']} → {contract.gives['units']}")
    print("units    ", *units.codes[0, 0].tolist())
    if units.durations is not None:
        print("durations", *units.durations[0].tolist(), f"(frames of {1000 / float(units.rate):g} ms)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
