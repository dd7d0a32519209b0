"""Units from one utterance, ours beside the plain way: `python bench/tokenizer.py [--seconds 10] [--threads 1]`.

The published size (94.7 M parameters) with random weights on synthetic sound, both sides with equal weights, taking
turns in one run. Prints ratios, whether ids are equal, and for bfloat16 the share that is. Exits with 1 where ids of
float32 differ or a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from plain_spiral import PlainTokenizer, log_mel
from timing import machine, take_turns

import omnikit
from omnikit.types import Audio

GOALS = {"log-mel": 1.5, "float32": 2.0, "bfloat16": 3.2}


def synthetic_speech(seconds: float, sample_rate: int = 16_000) -> torch.Tensor:
    """Harmonics of a moving pitch under a moving envelope, with some noise: [1, S], the same every time."""
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    pitch = 140 + 40 * torch.sin(2 * torch.pi * 0.7 * time)
    phase = 2 * torch.pi * torch.cumsum(pitch, 0) / sample_rate
    voice = torch.stack([torch.sin(phase * order) / order for order in range(1, 20)]).sum(0)
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    envelope = torch.sin(2 * torch.pi * 2.1 * time).square() * torch.sin(2 * torch.pi * 0.31 * time).abs()
    return (0.2 * envelope * voice + 0.02 * noise)[None]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the utterance")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=["process", "wall"], default="process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    ours = omnikit.create("tokenizer/spiral_fsq", reduced=False).eval()
    torch.nn.init.normal_(ours.pre_quant.weight, std=0.1)  # random weights that use many units
    plain = PlainTokenizer(ours.state_dict(), (8, 12))
    wave = synthetic_speech(args.seconds)
    audio = Audio(wave, torch.tensor([wave.shape[1]]), 16_000)
    front = ours.encoder.wav2spec["featurizer"]

    def encode(precision: torch.dtype) -> torch.Tensor:
        ours.precision = precision
        return ours.encode(audio).codes[0, 0]

    print(f"{args.seconds:g} s of sound, {args.clock} time, {args.rounds} rounds\n{machine()}")
    expected, count = plain.encode(wave, audio.lengths)
    expected = expected[0, : int(count)]
    single, half = encode(torch.float32), encode(torch.bfloat16)
    equal = bool(torch.equal(single.int(), expected))
    share = float((half.int() == expected).float().mean())
    print(f"{len(expected)} units, {expected.unique().numel()} different ones; float32 ids equal: {equal}")
    print(f"bfloat16 ids equal: {share:.1%}")

    reached = {
        "log-mel": compare(
            lambda: log_mel(wave, audio.lengths, plain.bank, plain.window), lambda: front(wave, audio.lengths), args, 10
        ),
        "float32": compare(lambda: plain.encode(wave, audio.lengths), lambda: encode(torch.float32), args, 1),
        "bfloat16": compare(lambda: plain.encode(wave, audio.lengths), lambda: encode(torch.bfloat16), args, 1),
    }
    for name, goal in GOALS.items():
        verdict = "reached" if reached[name].median >= goal else "missed"
        print(f"{name:<9} ours over plain float32 {reached[name]}   goal {goal}× {verdict}")
    return 0 if equal and all(reached[name].median >= goal for name, goal in GOALS.items()) else 1


def compare(plain: Callable[[], Any], ours: Callable[[], Any], args: argparse.Namespace, repeats: int) -> Any:
    """The ratio of two calls, each `repeats` times a turn, without gradients."""

    def repeated(call: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad():
                for _ in range(repeats):
                    call()

        return run

    candidates = {"plain": repeated(plain), "ours": repeated(ours)}
    return take_turns(candidates, args.rounds, clock=args.clock).ratio("plain", "ours")


if __name__ == "__main__":
    sys.exit(main())
