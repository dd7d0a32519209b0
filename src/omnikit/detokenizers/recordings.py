"""What detokenizers refuse of recordings and of durations, before any of it reaches a network.

Letters: B batch, T units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omnikit.errors import ContractError, DataError, MediaError
from omnikit.types import Audio

DURATION_SLACK_FRAMES = 4
"""By how much known durations may miss the frames of their recording."""


def check_rate(audio: Audio, sample_rate: int) -> None:
    """Raise `ContractError` for audio at another rate."""
    if audio.sample_rate != sample_rate:
        raise ContractError(
            f"The audio is at {audio.sample_rate} Hz, the detokenizer was made for {sample_rate} Hz.\n"
            f"Resample it to {sample_rate} Hz first."
        )


def check_frames(frames: Tensor, hop_size: int) -> None:
    """Raise `MediaError` where a row [B] has no whole frame."""
    empty = (frames < 1).nonzero().flatten().tolist()
    if empty:
        raise MediaError(f"Recording {empty[0]} is shorter than one frame of {hop_size} samples.")


def given_durations(durations: Tensor, num_units: Tensor, total_units: int, device: torch.device) -> Tensor:
    """Durations [B, T] on `device`, zero beyond `num_units` [B].

    Raises `DataError` for another shape, or where a row holds what cannot be a length (negative, NaN, all zero).
    """
    shape = [len(num_units), total_units]
    if list(durations.shape) != shape:
        raise DataError(f"Durations have the shape {list(durations.shape)}; {shape} are needed, one a unit.")
    valid = torch.arange(total_units, device=device) < num_units.to(device)[:, None]
    own = durations.to(device).float().where(valid, 0.0)
    wrong = (~own.isfinite() | (own < 0)).any(1) | (own.sum(1) < 1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise DataError(f"Row {row}: durations are frames of units, none below 0 and 1 or more in all.")
    return own


def check_sum(durations: Tensor, frames: Tensor, hop_size: int, sample_rate: int) -> None:
    """Raise `DataError` where durations [B, T] do not add up to the frames of their recordings [B], nearly."""
    apart = (durations.sum(1) - frames).abs()
    row = int(apart.argmax())
    if apart[row] > DURATION_SLACK_FRAMES:
        raise DataError(
            f"Row {row}: the durations add up to {float(durations[row].sum()):g} frames, the recording has "
            f"{int(frames[row])}.\nDurations count frames of {hop_size} samples at {sample_rate} Hz; "
            f"they may differ by {DURATION_SLACK_FRAMES} frames in all."
        )
