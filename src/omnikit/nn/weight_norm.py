"""Convolutions whose weight is a direction times a gain per first axis, under the names `weight_g` and `weight_v`.

W[i] = g[i] · V[i] / ‖V[i]‖. The first axis is the output channel, for transposed convolutions the input channel.

Signals go through as pictures of one row: where the channels of a signal lie side by side in memory (`time_major`), as
the kernels of oneDNN and cuDNN like best, `conv2d` leaves them there, while `conv1d` would copy them back first.

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
    """The weight of a convolution: its own, or what `weight_g` and `weight_v` stand for."""
    return torch._weight_norm(conv.weight_v, conv.weight_g, 0) if hasattr(conv, "weight_g") else conv.weight


def plain_weight(conv: nn.Module) -> Tensor:
    """The weight of a convolution, normalised or not, as a constant."""
    return joined_weight(conv).detach()


def time_major(x: Tensor) -> Tensor:
    """The signals [B, C, T] with their channels side by side in memory."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


class WNConv1d(nn.Conv1d):
    """`nn.Conv1d` with a normalised weight."""

    def __init__(self, *args: int, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        split_weight(self)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [B, C, T] → [B, C', T']."""
        return functional.conv2d(
            x.unsqueeze(2),
            joined_weight(self).unsqueeze(2),
            self.bias,
            (1, self.stride[0]),
            (0, int(self.padding[0])),
            (1, self.dilation[0]),
            self.groups,
        ).squeeze(2)


class WNConvTranspose1d(nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` with a normalised weight."""

    def __init__(self, *args: int, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        split_weight(self)

    def forward(self, x: Tensor) -> Tensor:
        """Spread x [B, C, T] → [B, C', T']."""
        return functional.conv_transpose2d(
            x.unsqueeze(2),
            joined_weight(self).unsqueeze(2),
            self.bias,
            (1, self.stride[0]),
            (0, int(self.padding[0])),
            (0, self.output_padding[0]),
            self.groups,
            (1, self.dilation[0]),
        ).squeeze(2)


class WNConv2d(nn.Conv2d):
    """`nn.Conv2d` with a normalised weight."""

    def __init__(self, *args: int, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        split_weight(self)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [B, C, H, W] → [B, C', H', W']."""
        return self._conv_forward(x, joined_weight(self), self.bias)
