"""Small inputs that are the same on every run: tones, units, pictures, features, styles.

Letters: B batch, S samples, K codebooks, T units, N positions, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any, TypeVar

import torch
from torch import Tensor

from omnikit.contracts import Contract, OneOf, UnitsPort
from omnikit.nn.picture_sizes import AnyRes, NativeSize, PaddedSquare, PictureSize
from omnikit.testing.kit import first_of
from omnikit.types import Audio, Frames, Images, Style, Units

_SIDE = 32
Record = TypeVar("Record", Audio, Frames, Images, Style, Units)


def draws(seed: int = 0) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def sounds(num_samples: Sequence[int], sample_rate: int) -> Audio:
    """Gliding tones in a little noise, one a row, padded with zeros."""
    lengths = torch.tensor(num_samples)
    time = torch.arange(max(num_samples)) / sample_rate  # [S]
    rows = []
    for row in range(len(num_samples)):
        phase = 2 * torch.pi * (180 + 90 * row) * (time + 0.3 * torch.sin(5 * time))
        rows.append(0.3 * torch.sin(phase) + 0.15 * torch.sin(3 * phase))
    wave = torch.stack(rows) + 0.02 * torch.randn(len(rows), len(time), generator=draws())
    return Audio(wave * (torch.arange(len(time)) < lengths[:, None]), lengths, sample_rate)


def units(port: UnitsPort, lengths: Sequence[int]) -> Units:
    """Random units [B, K, T] as a port describes them, no two neighbours equal, padded with zeros."""
    sizes = tuple(first_of(port.codebooks))
    layout = first_of(port.layout) or "frame"
    steps = max(lengths)
    books = []
    for size in sizes:
        hops = torch.randint(1, max(size, 2), (len(lengths), steps), generator=draws(size))
        books.append(hops.cumsum(1) % size)
    valid = torch.arange(steps) < torch.tensor(lengths)[:, None]  # [B, T]
    codes = torch.stack(books, 1) * valid[:, None]  # [B, K, T]
    durations = 2 * valid.long() if layout == "reduced" else None
    rate = Fraction(first_of(port.rate))
    return Units(codes, torch.tensor(lengths), sizes, rate, first_of(port.vocab_id), layout, durations)


def pictures(size: PictureSize, number: int) -> Images:
    """Random pictures of one size that an encoder with a port of this `size` reads; of slices, one by one."""
    side = size.side if isinstance(size, PaddedSquare | AnyRes) else size
    height, width = side.fit(_SIDE, _SIDE) if isinstance(side, NativeSize) else (side, side)
    return Images(torch.rand(number, 3, height, width, generator=draws()))


def pictures_of_own_sizes(size: NativeSize) -> Images:
    """Three random pictures, packed: one wide, one square, one high."""
    shapes = (size.fit(height, width) for height, width in ((_SIDE, 2 * _SIDE), (_SIDE, _SIDE), (3 * _SIDE, _SIDE)))
    return Images.of([torch.rand(3, height, width, generator=draws(width)) for height, width in shapes])


def features(dim: int, lengths: Sequence[int], rate: Fraction | None = None) -> Frames:
    """Random features [B, N, D], padded with zeros."""
    values = torch.randn(len(lengths), max(lengths), dim, generator=draws())
    valid = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Frames(values * valid[..., None], torch.tensor(lengths), rate)


def style_for(contract: Contract, num_rows: int, seed: int = 0) -> Style:
    """A style that a detokenizer's contract accepts: a random vector, labels, or none."""
    port: Any = contract.needs.get("style")
    if port is None or "style" in contract.ignores:
        return Style()
    views = port.view.values if isinstance(port.view, OneOf) else (port.view,)
    if port.dim and ("vector" in views or None in views):
        vector = torch.randn(num_rows, first_of(port.dim), generator=draws(seed))
        return Style(vector=torch.nn.functional.normalize(vector), space_id=first_of(port.space_id))
    return Style(labels=tuple({} for _ in range(num_rows)))


def row(record: Record, index: int, length: int | None = None) -> Record:
    """One row of a batch as a batch of its own; with `length`, cut to it where the record has time."""
    changes: dict[str, Any] = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, Tensor):
            alone = value[index : index + 1]
            if length is not None and item.name in ("wave", "codes", "durations"):
                alone = alone[..., :length]
            elif length is not None and item.name == "features":
                alone = alone[:, :length]
            changes[item.name] = alone
        elif item.name == "labels" and value:
            changes[item.name] = value[index : index + 1]
    return replace(record, **changes)


def on(record: Record, device: torch.device) -> Record:
    """The record with its tensors on a device."""
    moved = {item.name: getattr(record, item.name) for item in fields(record)}
    return replace(record, **{name: value.to(device) for name, value in moved.items() if isinstance(value, Tensor)})
