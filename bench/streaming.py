"""How many units stay the same when sound is not read whole: `python bench/streaming.py [--minutes 4]`.

Synthetic recordings of held-out voices are read whole, live (`encode_live`, which is what `stream` gives) with several
windows, blocks and lookaheads, and one long recording in overlapping windows. Printed are the shares of frames whose
unit is that of the whole recording, and of live reading also how long a unit is waited for at most, and how many times
the sound is read. Above them stands the same share for the same recording at half its loudness and with a little noise:
what a change that means nothing costs.
"""

from __future__ import annotations

import argparse
import random
import sys

import numpy as np
import soxr
import torch
from timing import machine
from torch import Tensor

import omnikit
from omnikit.data.espeak import Espeak
from omnikit.data.texts import sentence
from omnikit.data.voices import voices_of
from omnikit.nn.spiral_windows import Windows
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.slots.unit_stream import Live, frames_of
from omnikit.types import Audio

RATE = 16_000
LIVES = (
    Live(window_s=2.56),
    Live(window_s=5.12),
    Live(),
    Live(window_s=20.48),
    Live(lookahead_s=0.16),
    Live(lookahead_s=0.64),
    Live(lookahead_s=1.28),
    Live(block_s=0.16),
    Live(block_s=0.96),
)
WINDOWS = (Windows(10.0, 2.0), Windows(30.0, 5.0), Windows())


def recordings(minutes: float, seed: int = 0) -> list[Tensor]:
    """Turns of three to five sentences by held-out voices, as waves [S]."""
    maker, rng = Espeak(), random.Random(seed)
    voices = [*voices_of("female", held_out=True), *voices_of("male", held_out=True)]
    found: list[Tensor] = []
    while sum(map(len, found)) < minutes * 60 * RATE:
        voice = voices[len(found) % len(voices)]
        spoken = [maker.synthesise(sentence(rng), voice) for _ in range(rng.randint(3, 5))]
        wave = np.concatenate([soxr.resample(item.wave, item.sample_rate, RATE) for item in spoken])
        found.append(torch.from_numpy(wave.astype(np.float32)))
    return found


def audio_of(wave: Tensor) -> Audio:
    """One recording as a batch."""
    return Audio(wave[None], torch.tensor([len(wave)]), RATE)


def share(whole: list[Tensor], other: list[Tensor]) -> str:
    """The share of equal frames as text."""
    equal = torch.cat([(a == b).all(0) for a, b in zip(whole, other, strict=True)])
    return f"{equal.float().mean():6.1%}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="tiny", help="a tag or folder of a system, or a published file")
    parser.add_argument("--minutes", type=float, default=4.0, help="sound to read")
    args = parser.parse_args()
    tokenizer: SpeechTokenizer = omnikit.load(f"{args.weights}#tokenizer")
    waves = recordings(args.minutes)

    def read(wave: Tensor, live: Live | None = None) -> Tensor:
        audio = audio_of(wave)
        return frames_of(tokenizer.encode(audio) if live is None else tokenizer.encode_live(audio, live))[0]

    whole = [read(wave) for wave in waves]
    seconds = [len(wave) / RATE for wave in waves]
    print(f"tokenizer {tokenizer.vocab_id}, {len(waves)} recordings of {min(seconds):.0f} to {max(seconds):.0f} s")
    print(machine())
    noise = torch.Generator().manual_seed(0)
    quiet = [read(0.5 * wave + 0.001 * torch.randn(len(wave), generator=noise)) for wave in waves]
    print(f"half as loud, with noise of 0.001: {share(whole, quiet)} of units are the same\n")

    print("live: window   block   lookahead   known after   read   same units")
    for live in LIVES:
        same = share(whole, [read(wave, live) for wave in waves])
        times = f"{live.window_s:11.2f} s {live.block_s:5.2f} s {live.lookahead_s:8.2f} s"
        print(f"{times} {live.lookahead_ms / 1000:10.2f} s {live.window_s / live.block_s:7.0f}×   {same}")
    long = torch.cat(waves)
    print(f"\none recording of {len(long) / RATE / 60:.1f} min in windows: longest   context   same units")
    tokenizer.windows = Windows(longest_s=1 + len(long) / RATE)
    entire = [read(long)]
    for windows in WINDOWS:
        tokenizer.windows = windows
        print(f"{windows.longest_s:53.0f} s {windows.context_s:7.0f} s      {share(entire, [read(long)])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
