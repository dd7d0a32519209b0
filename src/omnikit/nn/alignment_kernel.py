"""The monotonic alignment search of `nn.alignment` as a C kernel, rows shared among threads.

Letters: B batch, T units, F frames.

Ref: Kim et al., "Glow-TTS", NeurIPS 2020, algorithm 1.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from omnikit.nn.native import library

_SOURCE = r"""
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* One row: value [total, stride] of which `frames` and `units` count; path gets `total` entries.
   Returns 0, or 1 without memory. */
static int one_path(const float *value, long frames, long units, long stride, long total, int64_t *path) {
    float *memory = malloc(2 * (units + 1) * sizeof(float));
    uint8_t *moved = malloc(frames * units);
    if (!memory || !moved) { free(memory); free(moved); return 1; }
    float *old = memory, *new = memory + units + 1;       /* entry 0 stands before the first unit */
    for (long t = 0; t <= units; t++) old[t] = new[t] = -INFINITY;
    old[1] = value[0];
    for (long f = 1; f < frames; f++) {
        const float *restrict here = value + f * stride;
        const float *restrict best = old;
        float *restrict next = new;
        uint8_t *restrict step = moved + f * units;
        long first = units - (frames - f), stop = f + 1;     /* of the units that a whole path can be at */
        if (first < 0) first = 0;
        if (stop > units) stop = units;
        for (long t = first; t < stop; t++) {
            float stay = best[t + 1], come = best[t];
            step[t] = come > stay;
            next[t + 1] = (come > stay ? come : stay) + here[t];
        }
        float *swap = old; old = new; new = swap;
    }
    long unit = units - 1;
    for (long f = frames; f < total; f++) path[f] = unit;
    for (long f = frames - 1; f >= 0; f--) {
        path[f] = unit;
        if (f) unit -= moved[f * units + unit];
    }
    free(memory); free(moved);
    return 0;
}

/* Rows `from` to `to` of value [rows, total, stride]. Returns how many could not be done. */
int monotonic_paths(const float *value, const int64_t *frames, const int64_t *units, long total, long stride,
                    long from, long to, int64_t *path) {
    int failed = 0;
    for (long row = from; row < to; row++)
        failed += one_path(value + row * total * stride, frames[row], units[row], stride, total, path + row * total);
    return failed;
}
"""


def native_path(value: Tensor, num_frames: Tensor, num_units: Tensor) -> Tensor | None:
    """`nn.alignment.monotonic_path` of checked input; None where there is no kernel for it."""
    built = library(_SOURCE)
    if built is None or value.dtype != torch.float32:
        return None
    search = built.monotonic_paths
    search.argtypes = [*[ctypes.c_void_p] * 3, *[ctypes.c_long] * 4, ctypes.c_void_p]
    given = value.detach().cpu().contiguous()  # [B, F, T]
    frames, units = (each.to(device="cpu", dtype=torch.long).contiguous() for each in (num_frames, num_units))
    path = torch.empty(given.shape[:2], dtype=torch.long)
    num_rows, num_threads = len(given), max(1, min(torch.get_num_threads(), len(given)))

    def share(thread: int) -> int:
        start, stop = (number * num_rows // num_threads for number in (thread, thread + 1))
        pointers = (given.data_ptr(), frames.data_ptr(), units.data_ptr())
        return search(*pointers, given.shape[1], given.shape[2], start, stop, path.data_ptr())

    if num_threads == 1:
        failed = share(0)
    else:
        with ThreadPoolExecutor(num_threads) as pool:
            failed = sum(pool.map(share, range(num_threads)))
    return None if failed else path.to(value.device)
