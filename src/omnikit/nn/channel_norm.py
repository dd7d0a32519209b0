"""Layer norm over the channels of [B, C, T], under the names `GAMMA` and `BETA`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelNorm(nn.Module):
    """Normalise every step over its channels, then scale and shift. Ref: Ba et al., "Layer Normalization", 2016."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.GAMMA = nn.Parameter(torch.ones(dim))
        self.BETA = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Steps x [B, C, T] → [B, C, T]."""
        x = functional.layer_norm(x.transpose(1, 2), self.GAMMA.shape, self.GAMMA, self.BETA, self.eps)
        return x.transpose(1, 2)  # [B, C, T]
