"""The HiFi-GAN generator: latent frames → waveform by transposed convolutions and multi-receptive-field fusion.

Letters: B batch, C channels, T frames, S = T · hop samples, G style width.

Ref: Kong et al., "HiFi-GAN", NeurIPS 2020, section 2.2 and appendix A; style bias: Kim et al., VITS, ICML 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.weight_norm import WNConv1d, WNConvTranspose1d, time_major

SLOPE = 0.1
LAST_SLOPE = 0.01
_EDGE_KERNEL = 7


def block_reach(kernel_size: int, dilations: Sequence[int]) -> int:
    """Steps to either side that an output of a residual block depends on."""
    return sum((dilation + 1) * (kernel_size // 2) for dilation in dilations)


def head_reach(
    rates: Sequence[int], rate_kernels: Sequence[int], kernels: Sequence[int], dilations: Sequence[Sequence[int]]
) -> int:
    """Frames to either side that the sound of a frame depends on."""
    widest = max(block_reach(size, steps) for size, steps in zip(kernels, dilations, strict=True))
    reach = _EDGE_KERNEL // 2
    for rate, kernel in zip(reversed(rates), reversed(rate_kernels), strict=True):
        reach = (reach + widest + (kernel + rate) // 2 - 1) // rate
    return reach + _EDGE_KERNEL // 2


class ResBlock(nn.Module):
    """Residual pairs of convolutions, the first of each pair dilated."""

    def __init__(self, dim: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            WNConv1d(dim, dim, kernel_size, dilation=dilation, padding=(kernel_size - 1) * dilation // 2)
            for dilation in dilations
        )
        self.convs2 = nn.ModuleList(WNConv1d(dim, dim, kernel_size, padding=kernel_size // 2) for _ in dilations)
        self.reach = block_reach(kernel_size, dilations)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, T] → [B, C, T]."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            y = dilated(functional.leaky_relu(x, SLOPE))
            x = x + plain(functional.leaky_relu(y, SLOPE))
        return x


class HiFiGAN(nn.Module):
    """Upsample by `rates`, halving the width each time; after each, the mean of one residual block per kernel size."""

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        rates: Sequence[int],
        rate_kernels: Sequence[int],
        kernels: Sequence[int],
        dilations: Sequence[Sequence[int]],
        style_dim: int = 0,
    ) -> None:
        super().__init__()
        self.num_kernels = len(kernels)
        self.reach = head_reach(rates, rate_kernels, kernels, dilations)
        self.conv_pre = nn.Conv1d(in_dim, hidden_dim, _EDGE_KERNEL, padding=_EDGE_KERNEL // 2)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        dim = hidden_dim
        for rate, kernel in zip(rates, rate_kernels, strict=True):
            self.ups.append(WNConvTranspose1d(dim, dim // 2, kernel, stride=rate, padding=(kernel - rate) // 2))
            dim //= 2
            self.resblocks.extend(ResBlock(dim, size, steps) for size, steps in zip(kernels, dilations, strict=True))
        self.conv_post = nn.Conv1d(dim, 1, _EDGE_KERNEL, padding=_EDGE_KERNEL // 2, bias=False)
        if style_dim:
            self.cond = nn.Conv1d(style_dim, hidden_dim, 1)

    def blocks(self, level: int) -> list[ResBlock]:
        """The residual blocks behind an upsampling."""
        return list(self.resblocks[level * self.num_kernels : (level + 1) * self.num_kernels])  # type: ignore[arg-type]

    def forward(self, z: Tensor, g: Tensor | None = None) -> Tensor:
        """Latents z [B, C, T] in the style g [B, G, 1] → waveform [B, 1, S] within ±1."""
        x = self.conv_pre(z)
        if g is not None:
            x = x + self.cond(g)
        if self.training:
            x = time_major(x)
        for level, up in enumerate(self.ups):
            x = up(functional.leaky_relu(x, SLOPE))
            x = sum(block(x) for block in self.blocks(level)) / self.num_kernels
        return self.conv_post(functional.leaky_relu(x, LAST_SLOPE)).tanh()
