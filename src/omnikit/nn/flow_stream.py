"""The inverse of a coupling flow fed piece by piece: every layer keeps the few steps that it needs again.

A layer gives outputs for all that came in, so those of the first steps lie before the beginning, and runs behind its
input; zeros follow the end until the last step is through. What a layer sees beyond either end is zero.

Letters: B batch, C channels, H hidden width, T steps, G style width.

Ref: Kim et al., VITS, ICML 2021, section 2.1.2 (the network, see `nn.flow`).
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from torch.nn import functional

from omnikit.nn.flow import WN, Coupling, CouplingFlow
from omnikit.nn.packed_conv import PackedConv1d


class _Delay:
    """The same signal, so many steps later; zeros come first."""

    def __init__(self, steps: int, dim: int, like: Tensor) -> None:
        self._waiting = like.new_zeros(1, dim, steps)

    def joined(self, x: Tensor) -> Tensor:
        """What waited, and x behind it; its last steps wait from now on."""
        seen = torch.cat([self._waiting, x], -1)
        self._waiting = seen[..., seen.shape[-1] - self._waiting.shape[-1] :]
        return seen

    def __call__(self, x: Tensor) -> Tensor:
        return self.joined(x)[..., : x.shape[-1]]


class _Layer:
    """One gated convolution with its residual and its share of the skips."""

    def __init__(self, wn: WN, index: int, bias: Tensor | None) -> None:
        conv, mix = wn.in_layers[index], wn.res_skip_layers[index]
        assert isinstance(conv, PackedConv1d)
        self.conv, self.mix, self.dim, self.reach = conv, mix, wn.hidden_dim, int(conv.padding[0])
        self.bias = bias
        self._input = _Delay(2 * self.reach, self.dim, conv.weight)
        self._skips = _Delay(self.reach, self.dim, conv.weight)

    def __call__(self, x: Tensor, total: Tensor | None) -> tuple[Tensor, Tensor]:
        """Steps x [1, H, T] and the skips before → those `reach` steps earlier, with this layer's share."""
        seen = self._input.joined(x)
        opened = self.conv.inner(seen)
        wave, gate = (opened if self.bias is None else opened + self.bias).chunk(2, 1)
        mixed = self.mix(wave.tanh() * gate.sigmoid())
        skip = mixed[:, -self.dim :]
        total = skip if total is None else self._skips(total) + skip
        if mixed.shape[1] > self.dim:
            x = seen[..., self.reach : self.reach + x.shape[-1]] + mixed[:, : self.dim]
        return x, total


class _CouplingStage:
    """One coupling undone."""

    def __init__(self, coupling: Coupling, g: Tensor | None) -> None:
        wn, self.coupling = coupling.enc, coupling
        biases = [None] * len(wn.in_layers) if g is None else wn.cond_layer(g).chunk(len(wn.in_layers), 1)
        self.layers = [_Layer(wn, index, bias) for index, bias in enumerate(biases)]
        self.reach = wn.reach
        self._late = _Delay(wn.reach, 2 * coupling.post.out_channels, coupling.post.weight)

    def __call__(self, x: Tensor, at: int, end: int) -> Tensor:
        """Steps x [1, C, T] from step `at` on of a signal with `end` steps → those from at - reach on."""
        h, total = self.coupling.pre(x.chunk(2, 1)[0]), None
        for layer in self.layers:
            h, total = layer(_within(h, at, end), total)
            at -= layer.reach
        kept, moved = self._late(x).chunk(2, 1)
        return torch.cat([kept, moved - self.coupling.post(total)], 1)


def _within(x: Tensor, at: int, end: int) -> Tensor:
    """x [1, C, T] from step `at` on, with zeros where there is no signal."""
    size = x.shape[-1]
    before, after = min(size, max(0, -at)), min(size, max(0, at + size - end))
    if before or after:
        x = functional.pad(x[..., before : max(before, size - after)], (before, min(after, size - before)))
    return x


class FlowStream:
    """`CouplingFlow.inverse` of one signal, whose convolutions are packed, in the style g [1, G, 1]: a `Stage`."""

    def __init__(self, flow: CouplingFlow, g: Tensor | None) -> None:
        couplings = [module for module in reversed(flow.flows) if isinstance(module, Coupling)]
        self.stages = [_CouplingStage(coupling, g) for coupling in couplings]
        self.reach = flow.reach
        self._come = 0

    def __call__(self, x: Tensor, last: bool) -> Tensor:
        """The next latents of the prior x [1, C, T] → the posterior latents that are final now."""
        start, self._come = self._come, self._come + x.shape[-1]
        end = self._come if last else sys.maxsize
        if last:
            x = functional.pad(x, (0, self.reach))
        if not x.shape[-1]:
            return x
        at = start
        for stage in self.stages:
            x = stage(x.flip(1), at, end)
            at -= stage.reach
        return x[..., min(x.shape[-1], max(0, -at)) :]
