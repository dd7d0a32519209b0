"""The monotonic alignment search of `nn.alignment` as a C kernel, one row a thread.

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

/* One row: value [frames, stride] of which the first `units` columns count; path gets `total` entries.
   Returns 0, or 1 without memory. */
int monotonic_path(const float *value, long frames, long units, long stride, long total, int64_t *path) {
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
        for (long t = 0; t < units; t++) {
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
"""


def native_path(value: Tensor, num_frames: Tensor, num_units: Tensor) -> Tensor | None:
    """`nn.alignment.monotonic_path` of checked input; None where there is no kernel for it."""
    built = library(_SOURCE)
    if built is None or value.dtype != torch.float32:
        return None
    search = built.monotonic_path
    search.argtypes = [ctypes.c_void_p, *[ctypes.c_long] * 4, ctypes.c_void_p]
    given = value.detach().cpu().contiguous()  # [B, F, T]
    path = torch.empty(given.shape[:2], dtype=torch.long)

    def row(index: int, frames: int, units: int) -> int:
        return search(given[index].data_ptr(), frames, units, given.shape[2], given.shape[1], path[index].data_ptr())

    rows = (range(len(given)), num_frames.tolist(), num_units.tolist())
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(given)))) as pool:
        failed = any(list(pool.map(row, *rows)))
    return None if failed else path.to(value.device)
