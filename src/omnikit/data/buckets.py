"""Batches of items of similar length: in order of length, or as a pure function of (seed, step) for training.

Because batch `i` never depends on what ran before, a run resumes exactly by asking for the next index, and it is the
same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def length_batches(lengths: Sequence[float], max_length: float) -> list[list[int]]:
    """Every item once, shortest first, in batches whose longest item times their size is at most `max_length`.

    A single item may be longer than that. Equal lengths keep their order.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda item: lengths[item]):
        if not batches or lengths[index] * (len(batches[-1]) + 1) > max_length:
            batches.append([])
        batches[-1].append(index)
    return batches


class BucketPlan:
    """Which items form batch number `step`.

    Items are shuffled anew every pass, sorted by length inside windows of `window` items, cut into batches of at most
    `max_length` summed length, and the batches of a pass shuffled.
    """

    def __init__(self, lengths: Sequence[float], max_length: float, *, seed: int, window: int = 1024) -> None:
        if not len(lengths):
            raise ValueError("a bucket plan needs at least one item")
        self.lengths = np.asarray(lengths, dtype=float)
        self.max_length, self.seed, self.window = max_length, seed, window
        self._passes: dict[int, list[np.ndarray]] = {}
        self._starts: list[int] = [0]

    def batch(self, step: int) -> np.ndarray:
        """Item indices of batch `step` (0, 1, 2 …, through as many passes as needed)."""
        number = 0
        while True:
            if number + 1 >= len(self._starts):
                self._starts.append(self._starts[number] + len(self._pass(number)))
            if step < self._starts[number + 1]:
                return self._pass(number)[step - self._starts[number]]
            number += 1

    def _pass(self, number: int) -> list[np.ndarray]:
        if number not in self._passes:
            self._passes = {number: self._cut(number)}
        return self._passes[number]

    def _cut(self, number: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(self.lengths))
        batches: list[np.ndarray] = []
        for start in range(0, len(order), self.window):
            part = order[start : start + self.window]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            begin = 0
            for end in range(1, len(part) + 1):
                if end == len(part) or self.lengths[part[end]] * (end + 1 - begin) > self.max_length:
                    batches.append(part[begin:end])
                    begin = end
        return [batches[i] for i in rng.permutation(len(batches))]
