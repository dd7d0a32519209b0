"""Blocks of the normalising flows of a VITS: gated convolutions, couplings, spline flows.

Letters: B batch, C channels, H hidden width, T steps, G style width. Masks are [B, 1, T] with 1 at valid steps, styles
`g` [B, G, 1] or None. Every flow maps (x, mask, g) to x and the log-determinant [B]; `inverse` undoes `forward`.

Ref: Kim et al., "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech" (VITS),
ICML 2021, sections 2.1.2, 2.2.2 and 2.5; gated convolutions: van den Oord et al., "WaveNet", 2016, equation 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.channel_norm import ChannelNorm
from omnikit.nn.spline import rational_quadratic_spline
from omnikit.nn.weight_norm import WNConv1d


class WN(nn.Module):
    """A stack of gated residual convolutions whose skips are summed; the style is added before every gate."""

    def __init__(self, hidden_dim: int, kernel_size: int, num_layers: int, style_dim: int = 0) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.reach = num_layers * (kernel_size // 2)
        """Steps to either side that an output depends on."""
        self.in_layers = nn.ModuleList(
            WNConv1d(hidden_dim, 2 * hidden_dim, kernel_size, padding=kernel_size // 2) for _ in range(num_layers)
        )
        self.res_skip_layers = nn.ModuleList(
            WNConv1d(hidden_dim, hidden_dim if layer == num_layers - 1 else 2 * hidden_dim, 1)
            for layer in range(num_layers)
        )
        if style_dim:
            self.cond_layer = WNConv1d(style_dim, 2 * hidden_dim * num_layers, 1)

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Steps x [B, H, T] → [B, H, T]."""
        biases = [None] * len(self.in_layers) if g is None else self.cond_layer(g).chunk(len(self.in_layers), 1)
        total: Tensor | None = None
        for conv, mix, bias in zip(self.in_layers, self.res_skip_layers, biases, strict=True):
            a = conv(x) if bias is None else conv(x) + bias  # [B, 2H, T]
            wave, gate = a.chunk(2, 1)
            mixed = mix(torch.tanh(wave) * torch.sigmoid(gate))
            skip = mixed[:, -self.hidden_dim :]
            total = skip if total is None else total + skip
            if mixed.shape[1] > self.hidden_dim:
                x = (x + mixed[:, : self.hidden_dim]) * mask
        return total * mask


class Coupling(nn.Module):
    """Shift one half of the channels by a function of the other half; volume is kept (log-determinant 0)."""

    def __init__(self, dim: int, hidden_dim: int, kernel_size: int, num_layers: int, style_dim: int = 0) -> None:
        super().__init__()
        self.pre = nn.Conv1d(dim // 2, hidden_dim, 1)
        self.enc = WN(hidden_dim, kernel_size, num_layers, style_dim)
        self.post = nn.Conv1d(hidden_dim, dim // 2, 1)
        nn.init.zeros_(self.post.weight)
        nn.init.zeros_(self.post.bias)

    def shift(self, kept: Tensor, mask: Tensor, g: Tensor | None) -> Tensor:
        """The shift [B, C / 2, T] that the kept half asks for."""
        return self.post(self.enc(self.pre(kept) * mask, mask, g)) * mask

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Steps x [B, C, T] → [B, C, T]."""
        kept, moved = x.chunk(2, 1)
        return torch.cat([kept, self.shift(kept, mask, g) + moved * mask], 1)

    def inverse(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Undo `forward`."""
        kept, moved = x.chunk(2, 1)
        return torch.cat([kept, (moved - self.shift(kept, mask, g)) * mask], 1)


class Flip(nn.Module):
    """Reverse the order of the channels; its own inverse."""

    def forward(self, x: Tensor) -> Tensor:
        """Steps x [B, C, T] → [B, C, T]."""
        return x.flip(1)


class CouplingFlow(nn.Module):
    """Couplings with the channels flipped after each: the map between posterior and prior of a VITS."""

    def __init__(
        self, dim: int, hidden_dim: int, kernel_size: int, num_layers: int, num_flows: int, style_dim: int = 0
    ) -> None:
        super().__init__()
        self.flows = nn.ModuleList()
        for _ in range(num_flows):
            self.flows.append(Coupling(dim, hidden_dim, kernel_size, num_layers, style_dim))
            self.flows.append(Flip())

    @property
    def reach(self) -> int:
        """Steps to either side that an output depends on."""
        return sum(flow.enc.reach for flow in self.flows if isinstance(flow, Coupling))

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Posterior latents x [B, C, T] → latents of the prior [B, C, T]."""
        for flow in self.flows:
            x = flow(x) if isinstance(flow, Flip) else flow(x, mask, g)
        return x

    def inverse(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Latents of the prior x [B, C, T] → posterior latents [B, C, T]."""
        for flow in reversed(self.flows):
            x = flow(x) if isinstance(flow, Flip) else flow.inverse(x, mask, g)
        return x


class DDSConv(nn.Module):
    """Residual dilated convolutions, each depthwise then pointwise; the dilation grows by the kernel size."""

    def __init__(self, dim: int, kernel_size: int, num_layers: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.convs_sep = nn.ModuleList()
        for layer in range(num_layers):
            dilation = kernel_size**layer
            padding = (kernel_size - 1) * dilation // 2
            self.convs_sep.append(nn.Conv1d(dim, dim, kernel_size, dilation=dilation, padding=padding, groups=dim))
        self.convs_1x1 = nn.ModuleList(nn.Conv1d(dim, dim, 1) for _ in range(num_layers))
        self.norms_1 = nn.ModuleList(ChannelNorm(dim) for _ in range(num_layers))
        self.norms_2 = nn.ModuleList(ChannelNorm(dim) for _ in range(num_layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Steps x [B, H, T] with an optional condition g [B, H, T] that is added first → [B, H, T]."""
        if g is not None:
            x = x + g
        for depthwise, pointwise, first, second in zip(
            self.convs_sep, self.convs_1x1, self.norms_1, self.norms_2, strict=True
        ):
            y = functional.gelu(first(depthwise(x * mask)))
            y = functional.gelu(second(pointwise(y)))
            x = x + self.dropout(y)
        return x * mask


class ElementwiseAffine(nn.Module):
    """Shift and scale every channel by learnt constants."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.zeros(dim, 1))
        self.logs = nn.Parameter(torch.zeros(dim, 1))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Steps x [B, C, T] → [B, C, T] and the log-determinant [B]."""
        return (self.m + self.logs.exp() * x) * mask, (self.logs * mask).sum((1, 2))

    def inverse(self, x: Tensor, mask: Tensor) -> Tensor:
        """Undo `forward`."""
        return (x - self.m) * (-self.logs).exp() * mask


class ConvFlow(nn.Module):
    """Two channels: the second goes through a spline whose shape is computed from the first and a condition."""

    def __init__(
        self, hidden_dim: int, kernel_size: int, num_layers: int = 3, num_bins: int = 10, bound: float = 5.0
    ) -> None:
        super().__init__()
        self.num_bins, self.bound, self.scale = num_bins, bound, hidden_dim**-0.5
        self.pre = nn.Conv1d(1, hidden_dim, 1)
        self.convs = DDSConv(hidden_dim, kernel_size, num_layers)
        self.proj = nn.Conv1d(hidden_dim, 3 * num_bins - 1, 1)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def _map(self, x: Tensor, mask: Tensor, g: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        kept, moved = x.chunk(2, 1)  # [B, 1, T]
        h = self.proj(self.convs(self.pre(kept), mask, g)) * mask  # [B, 3K - 1, T]
        h = h.transpose(1, 2)[:, None].float()  # [B, 1, T, 3K - 1]
        widths, heights, slopes = h.split([self.num_bins, self.num_bins, self.num_bins - 1], -1)
        moved, log_slope = rational_quadratic_spline(
            moved.float(), widths * self.scale, heights * self.scale, slopes, inverse=inverse, bound=self.bound
        )
        return torch.cat([kept, moved.to(kept.dtype)], 1) * mask, (log_slope * mask).sum((1, 2))

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Steps x [B, 2, T] with a condition g [B, H, T] → [B, 2, T] and the log-determinant [B]."""
        return self._map(x, mask, g, inverse=False)

    def inverse(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Undo `forward`."""
        return self._map(x, mask, g, inverse=True)[0]
