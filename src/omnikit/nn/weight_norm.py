"""Convolutions whose weight is a direction times a gain per first axis, under the names `weight_g` and `weight_v`.

W[i] = g[i] · V[i] / ‖V[i]‖. The first axis is the output channel, for transposed convolutions the input channel.

Ref: Salimans and Kingma, "Weight Normalization", NeurIPS 2016, equation 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def split_weight(conv: nn.Module) -> None:
    """Replace the parameter `weight` of a convolution by `weight_g` and `weight_v`, whose product it was."""
    weight = conv.weight.detach()
    del conv.weight
    dims = tuple(range(1, weight.dim()))
    conv.weight_g = nn.Parameter(torch.linalg.vector_norm(weight, dim=dims, keepdim=True))
    conv.weight_v = nn.Parameter(weight)


def joined_weight(conv: nn.Module) -> Tensor:
    """The weight that `weight_g` and `weight_v` stand for."""
    return torch._weight_norm(conv.weight_v, conv.weight_g, 0)


def plain_weight(conv: nn.Module) -> Tensor:
    """The weight of a convolution, normalised or not, as a constant."""
    return (joined_weight(conv) if hasattr(conv, "weight_g") else conv.weight).detach()


class WNConv1d(nn.Conv1d):
    """`nn.Conv1d` with a normalised weight."""

    def __init__(self, *args: int, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        split_weight(self)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [B, C, T] → [B, C', T']."""
        return self._conv_forward(x, joined_weight(self), self.bias)


class WNConvTranspose1d(nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` with a normalised weight."""

    def __init__(self, *args: int, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        split_weight(self)

    def forward(self, x: Tensor) -> Tensor:
        """Spread x [B, C, T] → [B, C', T']."""
        return functional.conv_transpose1d(
            x,
            joined_weight(self),
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


class WNConv2d(nn.Conv2d):
    """`nn.Conv2d` with a normalised weight."""

    def __init__(self, *args: int, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        split_weight(self)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [B, C, H, W] → [B, C', H', W']."""
        return self._conv_forward(x, joined_weight(self), self.bias)
