"""What every part that hears asks of a batch of waveforms."""

from __future__ import annotations

import torch

from omnikit.errors import MediaError
from omnikit.types import Audio


def check_audio(audio: Audio, sample_rate: int, reader: str) -> None:
    """Raise `MediaError` for waves that `reader` (a component's id) cannot hear at `sample_rate` Hz."""
    if audio.sample_rate != sample_rate:
        raise MediaError(f"{reader} reads audio at {sample_rate} Hz, not {audio.sample_rate} Hz; resample it first.")
    if audio.wave.dim() != 2 or audio.lengths.shape != audio.wave.shape[:1]:
        raise MediaError(
            f"Audio of shape {list(audio.wave.shape)} with lengths {list(audio.lengths.shape)}; "
            "accepted: wave [B, S] with lengths [B]."
        )
    if not audio.wave.numel() or int(audio.lengths.min()) < 1 or int(audio.lengths.max()) > audio.wave.shape[1]:
        raise MediaError(
            f"Audio lengths {audio.lengths.tolist()} for {audio.wave.shape[1]} samples a row.\n"
            "Every row needs at least 1 sample and no more than the tensor holds."
        )
    if not bool(torch.isfinite(audio.wave).all()):
        raise MediaError("The audio holds samples that are not finite (NaN or infinity); check the file it came from.")
