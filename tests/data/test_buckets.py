"""Length batches: everything once, within the limit, the shortest first."""

from __future__ import annotations

import itertools
import random

from omnikit.data.buckets import length_batches


def test_everything_once_within_the_limit_and_in_order() -> None:
    rng = random.Random(0)
    lengths = [rng.uniform(0.1, 4.0) for _ in range(200)]
    batches = length_batches(lengths, 10.0)
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(200))
    assert [lengths[index] for index in flat] == sorted(lengths)
    assert all(len(batch) * max(lengths[index] for index in batch) <= 10.0 for batch in batches)
    pairs = itertools.pairwise(batches)
    assert all((len(one) + 1) * lengths[other[0]] > 10.0 for one, other in pairs)  # none could have been fuller


def test_an_item_longer_than_the_limit_is_a_batch_of_its_own() -> None:
    assert length_batches([5.0, 1.0, 20.0], 6.0) == [[1], [0], [2]]
    assert length_batches([], 6.0) == []
