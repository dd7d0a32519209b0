"""`watermark/spread`: a pattern of soft noise that only its key finds.

Letters: B batch, S samples, C samples of the pattern.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from omnikit import DERIVED, Audio, AudioPort, Contract
from omnikit.errors import ContractError
from omnikit_marks.slot import Watermark

PERIOD = 4_000


class SpreadSpectrum(Watermark):
    """Sound → the same sound with a key's pattern of ±`strength` added over and over.

    Args:
        sample_rate: of the sound in Hz, derived from who makes it.
        key: chooses the pattern.
        strength: of the pattern, beside samples in [-1, 1].

    Contract: mono sound → mono sound, at one rate.
    Raises: `ContractError` for sound at another rate.
    Ref: Cox et al., "Secure Spread Spectrum Watermarking for Multimedia", IEEE Trans. Image Processing 6, 1997.
    """

    pattern: Tensor

    def __init__(self, sample_rate: int = DERIVED, key: int = 1, strength: float = 0.02) -> None:
        super().__init__()
        self.sample_rate, self.strength = sample_rate, strength
        draws = torch.Generator().manual_seed(key)
        self.register_buffer("pattern", torch.randint(0, 2, (PERIOD,), generator=draws) * 2.0 - 1)  # [C]

    @classmethod
    def contract(cls, sample_rate: Any, key: int, strength: float) -> Contract:
        """One rate on both sides."""
        port = AudioPort(sample_rate=sample_rate)
        return Contract(needs={"audio": port}, gives={"audio": port}, causal=True, lookahead_ms=0.0)

    def mark(self, audio: Audio) -> Audio:
        """The same sound [B, S] with the pattern in its valid samples."""
        pattern = self._laid_out(audio)
        return replace(audio, wave=(audio.wave + self.strength * pattern).clamp(-1, 1))

    def scores(self, audio: Audio) -> Tensor:
        """Correlation with the pattern [B], less half of what the mark gives."""
        pattern = self._laid_out(audio)
        return (audio.wave * pattern).sum(1) / audio.lengths - self.strength / 2

    def _laid_out(self, audio: Audio) -> Tensor:
        """The pattern over the valid samples of every row [B, S]."""
        if audio.sample_rate != self.sample_rate:
            raise ContractError(f"watermark/spread marks sound at {self.sample_rate} Hz, not {audio.sample_rate} Hz.")
        places = torch.arange(audio.wave.shape[1], device=audio.wave.device)
        return self.pattern[places % PERIOD] * (places < audio.lengths[:, None])
