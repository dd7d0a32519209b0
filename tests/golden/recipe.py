"""Weights of published size that need no file: every tensor is drawn from a seed made of its own name."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor

CONSTANTS = (".fb", ".window", "mask_emb", "_levels_np", "_basis")


def is_constant(name: str) -> bool:
    """True for the buffers that keep their real values."""
    return name.endswith(CONSTANTS)


def s2u_weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The tensor `name` of the speech tokenizer (numpy's RandomState gives the same stream for ever)."""
    drawn = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "bias":
        drawn = 0.1 * drawn
    elif last == "weight_g" or len(shape) == 1:
        drawn = 1.0 + 0.1 * drawn
    else:
        drawn = drawn * math.prod(shape[1:]) ** -0.5
        if name == "pre_quant.weight":
            drawn = 3.0 * drawn
    return torch.from_numpy(drawn.astype(np.float32))
