"""Tokens that are read wrongly on purpose while a backbone learns."""

from __future__ import annotations

from collections.abc import Callable

import torch

from omnikit.backbones.hf_causal import HFCausal
from omnikit.slots.backbone import Segment

UNITS = ((1, 2, 3, 4, 5, 6),)


def lesson() -> list[Segment]:
    return [
        Segment(control="user"),
        Segment(text="say"),
        Segment(units=UNITS),
        Segment(text="a red star", train=True),
        Segment(control="end", train=True),
    ]


def read(backbone: HFCausal, **noise: object) -> tuple[list[int], float]:
    """The token ids that are looked up, and the loss."""
    seen: list[int] = []
    table = backbone.model.get_input_embeddings()
    with torch.no_grad():
        handle = table.register_forward_hook(lambda _, given, __: seen.extend(given[0].flatten().tolist()))
        loss = float(backbone.loss([lesson()], **noise).total)
        handle.remove()
    return seen, loss


def test_only_units_and_trained_text_are_misread_and_stay_of_their_kind(make: Callable[..., HFCausal]) -> None:
    backbone = make(codebooks=[64])
    right, loss = read(backbone)
    wrong, noisy = read(backbone, misread=0.999, generator=torch.Generator().manual_seed(0))
    spoken = [place for place, index in enumerate(right) if index >= backbone.units.first]
    prompt = spoken[0]
    assert wrong[:prompt] == right[:prompt] and wrong[-1] == right[-1] and len(wrong) == len(right)
    assert [wrong[place] for place in spoken] != [right[place] for place in spoken]
    assert all(index >= backbone.units.first for index in wrong[spoken[0] : spoken[-1] + 1])
    text = slice(spoken[-1] + 1, -1)
    assert wrong[text] != right[text] and all(index < backbone.text.size for index in wrong[text])
    assert noisy != loss


def test_the_share_is_what_is_asked_for_and_the_draw_is_the_generators(make: Callable[..., HFCausal]) -> None:
    backbone = make(codebooks=[64])
    right, loss = read(backbone)
    assert read(backbone, misread=0.0) == (right, loss)
    draws = [read(backbone, misread=0.3, generator=torch.Generator().manual_seed(seed)) for seed in range(60)]
    assert draws[7] == read(backbone, misread=0.3, generator=torch.Generator().manual_seed(7))
    first = right.index(next(index for index in right if index >= backbone.units.first))
    changed = sum(a != b for ids, _ in draws for a, b in zip(ids[first:-1], right[first:-1], strict=True))
    share = changed / (len(draws) * (len(right) - 1 - first))
    assert 0.2 < share < 0.4
