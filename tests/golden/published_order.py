"""The order in which the published training visits its samples: grouped by modality and length.

Only for comparison. omnikit mixes tasks by true token counts (`data/language_batches.py`); the published lengths count
words, so that a whole utterance of units is as long as one word.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def length_grouped(lengths: Sequence[int], batch_size: int, num_devices: int, generator: torch.Generator) -> list[int]:
    """Shuffled indices in mega-batches of one step of all devices, each sorted and dealt out evenly."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    step = batch_size * num_devices
    dealt: list[int] = []
    for start in range(0, len(order), step):
        longest_first = sorted(order[start : start + step], key=lambda index: lengths[index], reverse=True)
        dealt += [index for share in _shares(longest_first, lengths, num_devices) for index in share]
    return dealt


def modality_grouped(
    lengths: Sequence[int], batch_size: int, num_devices: int, generator: torch.Generator
) -> list[int]:
    """The same, with pictures (positive lengths) and texts (negative) in mega-batches of their own."""
    kinds = [[i for i, length in enumerate(lengths) if (length > 0) == seen] for seen in (True, False)]
    if not all(kinds):
        return length_grouped(lengths, batch_size, num_devices, generator)
    step = batch_size * num_devices
    whole, rest = [], []
    for members in kinds:
        order = length_grouped([abs(lengths[i]) for i in members], batch_size, num_devices, generator)
        chunks = [[members[i] for i in order[start : start + step]] for start in range(0, len(order), step)]
        whole += chunks[:-1]
        rest += chunks[-1]
    shuffled = torch.randperm(len(whole), generator=generator).tolist()
    return [index for number in shuffled for index in whole[number]] + sorted(rest)


def _shares(indices: Sequence[int], lengths: Sequence[int], num_devices: int) -> list[list[int]]:
    """Indices for every device: the next longest to the shortest share that still has room."""
    if len(indices) % num_devices:
        return [list(indices[device::num_devices]) for device in range(num_devices)]
    room = len(indices) // num_devices
    shares: list[list[int]] = [[] for _ in range(num_devices)]
    totals = [0.0] * num_devices
    for index in indices:
        device = totals.index(min(totals))
        shares[device].append(index)
        totals[device] = totals[device] + lengths[index] if len(shares[device]) < room else float("inf")
    return shares
