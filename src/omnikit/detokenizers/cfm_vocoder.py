"""The vocoder of `detokenizer/cfm_mel`: log-mels → waveform, bound to one mel and to nothing else.

It is a part inside the detokenizer and no slot of its own: what crosses the wall of the slot is units, style and sound,
and a mel means nothing without every number of its port. The port is what makes it exchangeable: a vocoder of an equal
port can take its place (`CfmMel.use_vocoder`), whoever trained it.

Letters: B batch, M mel bands, T frames, S = T · hop samples.

Ref: Siuzdak, "Vocos", ICLR 2024.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from omnikit.contracts import MelPort
from omnikit.nn.istft_head import IstftHead

LOG_AREA = "slaney area, ln, floor 1e-5"
"""`MelPort.norm` of `nn.spectrogram`: triangles of unit area on Slaney's scale, natural logarithm, floor 1e-5."""


class Vocoder(nn.Module, ABC):
    """Log-mels as `port` describes them → waveform."""

    port: MelPort

    @abstractmethod
    def forward(self, mel: Tensor) -> Tensor:
        """Log-mels [B, M, T] → waveform [B, 1, S], `hop_size` samples a frame."""


class IstftVocoder(Vocoder):
    """ConvNeXt blocks at frame rate and an inverse Fourier transform. `mean` and `std` bring log-mels to about ± 1."""

    def __init__(self, port: MelPort, mean: float, std: float, hidden_dim: int, ffn_dim: int, num_layers: int) -> None:
        super().__init__()
        self.port, self.mean, self.std = port, mean, std
        self.head = IstftHead(port.num_mels, hidden_dim, ffn_dim, num_layers, port.fft_size, port.hop_size)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mels [B, M, T] → waveform [B, 1, S]."""
        return self.head((mel - self.mean) / self.std)
