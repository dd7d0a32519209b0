"""What every part that reads units asks of them, and how units become the frames that a voice speaks.

Letters: B batch, K codebooks, T units, F frames (one a unit where no durations are given).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omnikit.contracts import DERIVED
from omnikit.errors import ContractError, DataError, WeightsError
from omnikit.types import Layout, Units


def own_codes(units: Units, sizes: Sequence[int], vocab_id: str, owner: str, layout: Layout = "frame") -> Tensor:
    """The codes [B, K, T] of units that `owner` (a component's id) can read: its vocabulary, codebooks and layout.

    Raises `WeightsError` for another vocabulary, `ContractError` for other codebooks or another layout, `DataError` for
    an empty row or an id out of range.
    """
    if units.vocab_id != vocab_id:
        raise WeightsError(
            f"The units are of vocabulary '{units.vocab_id}', {owner} has '{vocab_id}'.\n"
            "Ids of two vocabularies mean different sounds; take tokenizer and detokenizer of the same weights."
        )
    if tuple(units.sizes) != tuple(sizes) or units.codes.shape[1] != len(sizes) or units.layout != layout:
        raise ContractError(
            f"The units are ids of {list(units.sizes)} in layout '{units.layout}'; "
            f"{owner} takes {list(sizes)} in layout '{layout}'."
        )
    steps = units.codes.shape[-1]
    if not len(units.lengths) or int(units.lengths.min()) < 1 or int(units.lengths.max()) > steps:
        raise DataError(f"Every row needs 1 to {steps} units; their lengths are {units.lengths.tolist()}.")
    limits = torch.tensor(tuple(sizes), device=units.codes.device)[:, None]  # [K, 1]
    if bool(((units.codes < 0) | (units.codes >= limits)).any()):
        found = f"{int(units.codes.min())} to {int(units.codes.max())}"
        raise DataError(
            f"Unit ids of {owner} lie in 0 to {max(sizes) - 1} (sizes {list(sizes)}), padding is 0; {found} came."
        )
    return units.codes


def first_ids(units: Units) -> tuple[tuple[int, ...], ...]:
    """Row 0 of a batch of units as [K][T] plain ids, as a `Segment` has them."""
    length = int(units.lengths[0])
    return tuple(tuple(row[:length]) for row in units.codes[0].tolist())  # [1, K, T] → [K][T]


def frames_of_codes(codes: Tensor, lengths: Tensor, durations: Tensor | None) -> list[Tensor]:
    """The codes [K, F] of every row of [B, K, T], each as many times as `durations` [B, T] say; once without them.

    Raises `DataError` for durations that are no whole frames of these units, or a row that lasts none.
    """
    rows = [row[:, :length] for row, length in zip(codes, lengths.tolist(), strict=True)]
    if durations is None:
        return rows
    if durations.shape != (codes.shape[0], codes.shape[2]) or durations.is_floating_point():
        raise DataError(
            f"Durations are whole frames [{codes.shape[0]}, {codes.shape[2]}], one for every unit; "
            f"{durations.dtype} of shape {list(durations.shape)} came."
        )
    times = [row[:length].to(codes.device) for row, length in zip(durations, lengths.tolist(), strict=True)]
    if any(int(row.min()) < 0 or int(row.sum()) < 1 for row in times):
        raise DataError("Every row lasts 1 frame or more, and no unit less than 0.")
    return [row.repeat_interleave(time, dim=1) for row, time in zip(rows, times, strict=True)]


def check_known(owner: str, *said: object) -> None:
    """Raise `ContractError` where what a tokenizer says of its units (`said`) is still to be derived in a system."""
    if any(isinstance(value, str) and value == DERIVED for value in said):
        raise ContractError(
            f"{owner} speaks the units of a tokenizer: its codebooks and vocab_id are not known yet.\n"
            "Build it as part of a system with its tokenizer, or give them."
        )
