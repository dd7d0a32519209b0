"""How long every unit lasts: a stochastic predictor for merged units and a deterministic one for units on a clock.

Letters: B batch, H width, T units, G style width. Masks are [B, 1, T], styles `g` [B, G, 1] or None.

Ref: Kim et al., VITS, ICML 2021, section 2.2.2 and appendix B (stochastic); Kim et al., "Glow-TTS", NeurIPS 2020 and
Ren et al., "FastSpeech", NeurIPS 2019, section 3.3 (deterministic).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.channel_norm import ChannelNorm
from omnikit.nn.flow import ConvFlow, DDSConv, ElementwiseAffine, Flip

_LOG_2PI = math.log(2 * math.pi)


def _spline_flows(dim: int, kernel_size: int, num_flows: int) -> nn.ModuleList:
    flows = nn.ModuleList([ElementwiseAffine(2)])
    for _ in range(num_flows):
        flows.extend([ConvFlow(dim, kernel_size), Flip()])
    return flows


def _run(flows: nn.ModuleList, z: Tensor, mask: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """z [B, 2, T] through every flow, and the summed log-determinant [B]."""
    total = z.new_zeros(z.shape[0])
    for flow in flows:
        if isinstance(flow, Flip):
            z = flow(z)
            continue
        z, log_det = flow(z, mask) if isinstance(flow, ElementwiseAffine) else flow(z, mask, condition)
        total = total + log_det
    return z, total


class StochasticDurationPredictor(nn.Module):
    """A flow over durations, trained by variational dequantisation; gradients do not reach the unit encoder."""

    def __init__(self, dim: int, kernel_size: int, num_flows: int, dropout: float, style_dim: int = 0) -> None:
        super().__init__()
        self.pre = nn.Conv1d(dim, dim, 1)
        self.convs = DDSConv(dim, kernel_size, dropout=dropout)
        self.proj = nn.Conv1d(dim, dim, 1)
        if style_dim:
            self.cond = nn.Conv1d(style_dim, dim, 1)
        self.flows = _spline_flows(dim, kernel_size, num_flows)
        self.post_pre = nn.Conv1d(1, dim, 1)
        self.post_convs = DDSConv(dim, kernel_size, dropout=dropout)
        self.post_proj = nn.Conv1d(dim, dim, 1)
        self.post_flows = _spline_flows(dim, kernel_size, num_flows)

    def condition(self, hidden: Tensor, mask: Tensor, g: Tensor | None) -> Tensor:
        """What the flows look at [B, H, T]."""
        x = self.pre(hidden.detach())
        if g is not None:
            x = x + self.cond(g.detach())
        return self.proj(self.convs(x, mask)) * mask

    def loss(self, hidden: Tensor, mask: Tensor, durations: Tensor, noise: Tensor, g: Tensor | None = None) -> Tensor:
        """Negative variational bound [B] of integer durations [B, 1, T], in nats per utterance.

        Args: unit states `hidden` [B, H, T]; standard normal `noise` [B, 2, T].
        """
        condition = self.condition(hidden, mask, g)
        seen = self.post_proj(self.post_convs(self.post_pre(durations), mask)) * mask
        noise = noise * mask
        z_q, log_det_q = _run(self.post_flows, noise, mask, condition + seen)
        z_u, z_1 = z_q.float().chunk(2, 1)
        u = z_u.sigmoid() * mask
        log_det_q = log_det_q + ((functional.logsigmoid(z_u) + functional.logsigmoid(-z_u)) * mask).sum((1, 2))
        log_q = (-0.5 * (_LOG_2PI + noise.square()) * mask).sum((1, 2)) - log_det_q
        log_remainder = (durations - u).mul(mask).clamp(min=1e-5).log() * mask  # [B, 1, T]
        z, log_det = _run(self.flows, torch.cat([log_remainder, z_1], 1), mask, condition)
        log_det = log_det - log_remainder.sum((1, 2))
        nll = (0.5 * (_LOG_2PI + z.float().square()) * mask).sum((1, 2)) - log_det
        return nll + log_q

    def log_durations(self, hidden: Tensor, mask: Tensor, noise: Tensor, g: Tensor | None = None) -> Tensor:
        """Log durations [B, 1, T] from noise [B, 2, T] that is already scaled; the first spline takes no part."""
        condition = self.condition(hidden, mask, g)
        z = noise
        for index in reversed(range(len(self.flows))):
            flow = self.flows[index]
            if isinstance(flow, Flip):
                z = flow(z)
            elif isinstance(flow, ElementwiseAffine):
                z = flow.inverse(z, mask)
            elif index > 1:
                z = flow.inverse(z, mask, condition)
        return z[:, :1]


class DurationPredictor(nn.Module):
    """Mean duration of every unit in output frames, as a factor on `frames_per_unit`, what a unit lasts by its clock.

    Its loss is the Poisson deviance, whose minimum is the mean: whole-frame targets leave the total unbiased, which a
    squared error of logarithms would not. With `teaches_style` its gradients reach the style, so that a reference
    encoder learns how fast somebody speaks.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        kernel_size: int,
        frames_per_unit: float,
        dropout: float,
        style_dim: int = 0,
        teaches_style: bool = False,
    ) -> None:
        super().__init__()
        self.teaches_style = teaches_style
        self.offset = math.log(frames_per_unit)
        self.conv_1 = nn.Conv1d(dim, hidden_dim, kernel_size, padding=kernel_size // 2)
        self.norm_1 = ChannelNorm(hidden_dim)
        self.conv_2 = nn.Conv1d(hidden_dim, hidden_dim, kernel_size, padding=kernel_size // 2)
        self.norm_2 = ChannelNorm(hidden_dim)
        self.proj = nn.Conv1d(hidden_dim, 1, 1)
        self.dropout = nn.Dropout(dropout)
        if style_dim:
            self.cond = nn.Conv1d(style_dim, dim, 1)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def log_durations(self, hidden: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Unit states [B, H, T] → log durations in frames [B, 1, T], float32; gradients stop at the states."""
        x = hidden.detach()
        if g is not None:
            x = x + self.cond(g if self.teaches_style else g.detach())
        x = self.dropout(self.norm_1(self.conv_1(x * mask).relu()))
        x = self.dropout(self.norm_2(self.conv_2(x * mask).relu()))
        return (self.proj(x * mask).float() + self.offset) * mask

    def loss(self, hidden: Tensor, mask: Tensor, durations: Tensor, g: Tensor | None = None) -> Tensor:
        """Summed deviance [B] of durations [B, 1, T] in frames, whole or not."""
        log_predicted = self.log_durations(hidden, mask, g)
        log_true = durations.clamp(min=1e-5).log()
        deviance = log_predicted.exp() - durations + durations * (log_true - log_predicted)
        return (deviance * mask).sum((1, 2))
