"""What a cell of the alignment search costs, beside the published Cython extension, as ratios of one run.

    python bench/alignment.py                 # this library's two ways
    pip install monotonic-align               # the published extension (Kim et al., Glow-TTS and VITS) as a package …
    python bench/alignment.py                 # … takes part where it is installed

All searches get the same float32 values in torch. The published one gives a matrix of zeros and ones and wants one as
a mask; making the mask, and reading units off the matrix to compare the paths, is not counted. Ratios of equal inputs
are ratios of the cost per cell.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from functools import partial

import torch
from timing import machine, take_turns
from torch import Tensor

from omnikit.nn.alignment import monotonic_path, searched_path
from omnikit.nn.alignment_kernel import native_path

SHAPES = {"short": (32, 200, 800), "long": (64, 300, 1000)}
"""Rows, units, frames."""


def published() -> Callable[[Tensor, Tensor], Tensor] | None:
    """The published extension: values and mask [B, F, T] → path [B, F, T]; None where it is not installed."""
    try:
        return importlib.import_module("monotonic_align").maximum_path
    except ModuleNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clock", choices=["process", "wall"], default="process")
    chosen = parser.parse_args()
    print(machine())
    extension = published()
    if extension is None:
        print("the published extension is not installed (pip install monotonic-align); ratios are to the plain search")
    draws = torch.Generator().manual_seed(0)
    for name, (rows, total_units, total_frames) in SHAPES.items():
        value = torch.randn(rows, total_frames, total_units, generator=draws)
        units = torch.randint(total_units * 3 // 4, total_units + 1, (rows,), generator=draws)
        frames = torch.randint(total_frames * 3 // 4, total_frames + 1, (rows,), generator=draws)
        units[0], frames[0] = total_units, total_frames
        valid = torch.arange(total_frames) < frames[:, None]  # [B, F]
        mask = (valid[:, :, None] & (torch.arange(total_units) < units[:, None])[:, None]).float()  # [B, F, T]
        path = searched_path(value, frames, units)
        assert torch.equal(monotonic_path(value, frames, units), path)
        candidates: dict[str, Callable[[], Tensor]] = {}
        if extension is not None:
            assert torch.equal(extension(value, mask).argmax(2)[valid], path[valid])
            candidates["published"] = partial(extension, value, mask)
        candidates["plain torch"] = partial(searched_path, value, frames, units)
        if native_path(value, frames, units) is not None:
            candidates["C kernel built on first use"] = partial(monotonic_path, value, frames, units)
        turns = take_turns(candidates, rounds=chosen.rounds, clock=chosen.clock)
        baseline, *others = candidates
        print(f"{name}: {rows} rows of up to {total_units} units and {total_frames} frames")
        for label in others:
            print(f"  {label} against {baseline}: {turns.ratio(baseline, label)}")


if __name__ == "__main__":
    main()
