"""Long convolutions over time as products with Fourier matrices, for inference on a CPU.

A convolution of many taps costs K products a step and channel pair; in the frequency domain it costs a handful. At the
few hundred steps of an utterance the transform itself is cheapest as a product with a matrix of cosines and sines.
Values agree with the direct sum up to rounding.

Letters: B batch, C channels in, C' out, G groups, T steps, K kernel taps, n points of a transform, F = n / 2 + 1
frequencies, L steps that a transform gives, N transforms a row.

Ref: circular convolution and overlap-save, Oppenheim and Schafer, "Discrete-Time Signal Processing", section 8.7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SHORTEST_KERNEL = 32
"""Taps from which on this is faster than the direct sum."""


@dataclass(frozen=True)
class _Transform:
    """`forward` [2 F, n] and `inverse` [n, 2 F] matrices, and the kernel's `spectrum` [F * G, C / G, C' / G]."""

    forward: Tensor
    inverse: Tensor
    spectrum: Tensor


class FourierConv:
    """Grouped convolution over time with zeros of half a kernel on both sides, then GELU: as many steps as came in.

    weight [C', C / G, K], bias [C']. Rows of up to K and of up to 2.5 K steps take one transform, longer ones are cut.
    """

    def __init__(self, weight: Tensor, bias: Tensor, groups: int) -> None:
        self.weight, self.bias, self.groups = weight.detach().float(), bias.detach().float(), groups
        self.kernel_size = weight.shape[-1]
        self.before = self.kernel_size // 2
        self._transforms: dict[int, _Transform] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, T, C] → [B, T, C'] in the precision of x; computed in float32."""
        num_steps, taps = x.shape[1], self.kernel_size
        short, long = (2 * math.ceil(taps * factor / 2) for factor in (1.5, 3.0))
        if num_steps <= long - self.before:
            points = short if num_steps <= short - self.before else long
            y = self._circular(x.float(), points, 0, num_steps)
        else:
            step = long - taps + 1
            num_blocks = -(-num_steps // step)
            outside = (num_blocks - 1) * step + long - num_steps - self.before
            padded = functional.pad(x.float(), (0, 0, self.before, outside))
            blocks = padded.unfold(1, long, step).transpose(2, 3).flatten(0, 1)  # [B * N, n, C]
            y = self._circular(blocks, long, self.before, step)
            y = y.unflatten(0, (-1, num_blocks)).flatten(1, 2)[:, :num_steps]  # [B, T, C']
        return functional.gelu(y.add_(self.bias)).to(x.dtype)

    def _circular(self, x: Tensor, points: int, start: int, size: int) -> Tensor:
        """`size` outputs from step `start` on [B, L, C'] of rows x [B, T, C] that zeros fill up to n points."""
        if points not in self._transforms:
            self._transforms[points] = self._transform(points)
        own, num_rows = self._transforms[points], len(x)
        waves = own.forward[:, : x.shape[1]] @ x  # [B, 2 F, C]
        waves = (
            waves.unflatten(2, (self.groups, -1)).unflatten(1, (2, -1)).permute(2, 3, 0, 4, 1)
        )  # [F, G, B, C / G, 2]
        shaped = torch.bmm(torch.view_as_complex(waves.contiguous()).flatten(0, 1), own.spectrum)  # [F * G, B, C' / G]
        parts = (
            torch.view_as_real(shaped).unflatten(0, (-1, self.groups)).permute(2, 4, 0, 1, 3)
        )  # [B, 2, F, G, C' / G]
        return own.inverse[start : start + size] @ parts.reshape(num_rows, own.inverse.shape[1], -1)

    def _transform(self, points: int) -> _Transform:
        frequency = torch.arange(points // 2 + 1, dtype=torch.float64)[:, None] * (2 * math.pi / points)  # [F, 1]
        angle = frequency * torch.arange(points)  # [F, n]
        forward = torch.cat([angle.cos(), -angle.sin()])  # [2 F, n]
        twice = torch.full((points // 2 + 1, 1), 2.0, dtype=torch.float64)
        twice[0] = twice[-1] = 1.0  # frequencies that are their own mirror image
        inverse = torch.cat([twice, twice]) * forward / points  # [2 F, n]
        angle = frequency * (torch.arange(self.kernel_size) - self.before)  # [F, K]
        taps = self.weight.double().permute(2, 1, 0).flatten(1)  # [K, C / G * C']
        spectrum = torch.complex(angle.cos() @ taps, angle.sin() @ taps)  # [F, C / G * C']
        spectrum = spectrum.unflatten(1, (self.weight.shape[1], self.groups, -1)).transpose(1, 2)  # [F, G, C/G, C'/G]
        return _Transform(
            forward.float(), inverse.T.contiguous().float(), spectrum.flatten(0, 1).to(torch.complex64).contiguous()
        )
