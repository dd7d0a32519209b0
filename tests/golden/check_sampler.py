"""The published order of samples, and that ours pads no more on the same lengths."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from golden.compare import Golden, checks
from golden.published_order import length_grouped, modality_grouped
from omnikit.data.buckets import BucketPlan


def padded(batches: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    """Share of the positions of padded batches that hold nothing."""
    filled = sum(lengths[index] for batch in batches for index in batch)
    return 1 - filled / sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)


@checks("omni/sampler")
def sampler(golden: Golden) -> None:
    published, ours = [], []
    for number, case in enumerate(golden.meta):
        signed, size, devices = case["lengths"], case["batch_size"], case["world_size"]
        lengths = [abs(length) for length in signed]
        draws = torch.Generator().manual_seed(case["torch_seed"])
        order = modality_grouped(signed, size, devices, draws)
        golden.equal(f"{number} by modality and length", order, case["indices"])
        draws = torch.Generator().manual_seed(case["abs_indices_seed"])
        golden.equal(f"{number} by length", length_grouped(lengths, size, devices, draws), case["abs_indices"])
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        published.append(padded(batches, lengths))
        plan = BucketPlan(lengths, size * max(lengths), seed=0)
        taken: list[list[int]] = []
        while sum(map(len, taken)) < len(lengths):  # one pass
            taken.append(plan.batch(len(taken)).tolist())
        golden.equal(
            f"{number} ours takes each once",
            sorted(index for batch in taken for index in batch),
            list(range(len(lengths))),
        )
        ours.append(padded(taken, lengths))
    golden.equal("ours pads less", sum(ours) < sum(published), True)
