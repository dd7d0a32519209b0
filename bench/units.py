"""Units of a folder of recordings, `omnikit data units` beside the plain way: `python bench/units.py [--files 24]`.

The published size (94.7 M parameters) with random weights on synthetic sound of 1 to 6 s. The plain way reads files in
the order of their names and encodes them with the same weights: in padded batches of 8, which the goals are about, or
one by one, as the published extraction does. Ours is the whole command, headers, length buckets and writing included.
All take turns in one run. Prints ratios, whether ids are those of the plain way one by one, and for bfloat16 and plain
batches (which hear their padding) the share that is. Exits with 1 where ids of float32 differ or a goal is missed.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from plain_spiral import PlainTokenizer
from timing import machine, take_turns
from tokenizer import synthetic_speech

import omnikit
from omnikit.data.media import recordings_in
from omnikit.data.speech_batches import pad_audio
from omnikit.data.units import UnitStore
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.training.unit_folder import extract_folder

GOALS = {"float32": 3.0, "bfloat16": 4.8}
SHORTEST_S, LONGEST_S = 1.0, 6.0
PLAIN_BATCH = 8


def write_recordings(folder: Path, num_files: int) -> float:
    """Recordings of 1 to 6 s in an order that is not that of their lengths; their seconds together."""
    seconds = np.random.default_rng(0).permutation(np.linspace(SHORTEST_S, LONGEST_S, num_files))
    for number, length in enumerate(seconds):
        wave = synthetic_speech(float(length))[0] * (0.5 + 0.5 * number / num_files)
        soundfile.write(folder / f"{number:04d}.wav", wave.numpy(), 16_000)
    return float(seconds.sum())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=["process", "wall"], default="process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    ours = omnikit.create("tokenizer/spiral_fsq", reduced=False, vocab_id="bench").eval()
    torch.nn.init.normal_(ours.pre_quant.weight, std=0.1)  # random weights that use many units
    faster = copy.deepcopy(ours)  # weights are laid out once for each precision, as in a run of many files
    faster.precision = torch.bfloat16
    plain = PlainTokenizer(ours.state_dict(), (8, 12))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "recordings"
        root.mkdir()
        seconds = write_recordings(root, args.files)
        paths = recordings_in(root)
        turn = 0

        def plainly(batch_size: int) -> dict[str, np.ndarray]:
            found = {}
            for start in range(0, len(paths), batch_size):
                batch = paths[start : start + batch_size]
                audio = pad_audio([soundfile.read(root / path, dtype="float32")[0] for path in batch], 16_000)
                ids, lengths = plain.encode(audio.wave, audio.lengths)
                rows = zip(batch, ids, lengths.tolist(), strict=True)
                found.update({path: row[:length].numpy() for path, row, length in rows})
            np.savez(Path(name) / "plain.npz", **found)
            return found

        def by_command(tokenizer: SpeechTokenizer) -> Callable[[], dict[str, np.ndarray]]:
            def run() -> dict[str, np.ndarray]:
                nonlocal turn
                turn += 1
                folder = Path(name) / f"units-{turn}"
                extract_folder(tokenizer, root, recordings_in(root), folder, max_s=60.0)
                return {path: codes[0] for path, codes in UnitStore.at(folder).items()}

            return run

        candidates = {
            "plain batches": lambda: plainly(PLAIN_BATCH),
            "plain one by one": lambda: plainly(1),
            "float32": by_command(ours),
            "bfloat16": by_command(faster),
        }
        print(f"{args.files} files, {seconds:.0f} s of sound, {args.clock} time, {args.rounds} rounds\n{machine()}")
        batched, expected, single, half = (run() for run in candidates.values())
        turns = take_turns(candidates, args.rounds, warmups=0, clock=args.clock)
    shares = [np.mean(np.concatenate([found[p] == expected[p] for p in paths])) for found in (single, half, batched)]
    print(
        f"{sum(map(len, expected.values()))} units; equal ids: float32 {shares[0]:.2%}, bfloat16 {shares[1]:.2%}, "
        f"plain batches {shares[2]:.2%}"
    )
    reached = {name: turns.ratio("plain batches", name) for name in GOALS}
    for name, goal in GOALS.items():
        verdict = "reached" if reached[name].median >= goal else "missed"
        print(f"{name:<9} ours over plain batches of {PLAIN_BATCH} {reached[name]}   goal {goal}× {verdict}")
        print(f"{'':<9} ours over plain one by one   {turns.ratio('plain one by one', name)}")
    return 0 if shares[0] == 1.0 and all(reached[name].median >= goal for name, goal in GOALS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
