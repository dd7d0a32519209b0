"""Random numbers that are a function of where they are drawn (seed, step, row): a resumed run draws the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_OWN, _DROPOUT = 1, 2


def generator(*key: int) -> torch.Generator:
    """A generator on CPU that a key of non-negative numbers fixes; keys that differ give unrelated numbers."""
    return torch.Generator().manual_seed(_seed(_OWN, key))


@contextmanager
def dropout_of(device: torch.device, *key: int) -> Iterator[None]:
    """Dropout and dropped layers, which know torch's own generators only, draw by `key` while inside."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(_seed(_DROPOUT, key))
        yield


def _seed(use: int, key: tuple[int, ...]) -> int:
    sequence = np.random.SeedSequence((use, len(key), *key))  # the length, because zeros at its end leave no trace
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
