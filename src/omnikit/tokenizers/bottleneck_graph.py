"""`tokenizer/bottleneck` as a graph: a waveform in, units out, for runtimes other than PyTorch.

Letters: B batch, S samples, T units, D encoder width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnikit.nn.folding import folded
from omnikit.nn.logmel import LogMel
from omnikit.nn.quantizer import Quantizer
from omnikit.nn.real_fourier import RealLogMel
from omnikit.nn.spiral import SpiralEncoder


class EncodingGraph(nn.Module):
    """Waves [B, S], every row heard whole → ids [B, 1, T]; with `reduced`, also lengths [B] and durations [B, T].

    `reduced` ids stand at the front of a row, with zeros behind its length.
    """

    def __init__(self, encoder: SpiralEncoder, pre_quant: nn.Module, quantizer: Quantizer, reduced: bool) -> None:
        super().__init__()
        front_end = encoder.wav2spec["featurizer"]
        assert isinstance(front_end, LogMel)
        self.front_end = RealLogMel(front_end)
        self.blocks = folded(encoder.feature_encoder.block_modules)
        self.pre_quant, self.quantizer, self.reduced = folded(pre_quant), folded(quantizer), reduced

    def forward(self, wave: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Units of waves [B, S]."""
        x = self.front_end(wave)  # [B, T, M]
        lengths = torch.ones_like(x[..., 0]).long().sum(1)  # [B]
        for block in self.blocks:
            x, lengths = block(x, lengths)
        ids = self.quantizer(self.pre_quant(x))[1]  # [B, T]
        if not self.reduced:
            return ids[:, None]
        starts = torch.cat([torch.ones_like(ids[:, :1]), (ids[:, 1:] != ids[:, :-1]).long()], 1)  # [B, T]
        place = starts.cumsum(1) - 1  # [B, T] → index of the run
        durations = torch.zeros_like(ids).scatter_add(1, place, torch.ones_like(ids))
        return torch.zeros_like(ids).scatter(1, place, ids)[:, None], starts.sum(1), durations
