"""What the input styles that listen share: recordings → one vector each, of their tone.

Letters: B batch, S samples, D vector width.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from omnikit.nn.reference_encoder import ReferenceEncoder
from omnikit.slots.sound import check_audio
from omnikit.types import Audio

FFT_SIZE, HOP_SIZE = 1024, 256


def tone_encoder(sample_rate: int, hidden_dim: int, dim: int) -> ReferenceEncoder:
    """A small reference encoder that keeps padding out, so that a batch gives what its recordings give alone."""
    return ReferenceEncoder(
        sample_rate, FFT_SIZE, HOP_SIZE, hidden_dim, dim, num_heads=2, kernel_size=5, compress=True, mask_padding=True
    )


def tones(encoder: ReferenceEncoder, audio: Audio, sample_rate: int, reader: str) -> Tensor:
    """Vectors [B, D] of length √D of recordings [B, S]; one shorter than a frame is filled up with silence.

    Raises `MediaError` for audio that cannot be heard; `reader` is who says so.
    """
    check_audio(audio, sample_rate, reader)
    lengths = audio.lengths.long().clamp(min=HOP_SIZE)
    longest = int(lengths.max())
    wave = functional.pad(audio.wave, (0, max(0, longest - audio.wave.shape[1])))[:, :longest]
    vectors = encoder.batch(wave, lengths)
    return vectors * vectors.shape[1] ** 0.5
