"""Convolutions over time as products with a packed matrix, in place of those of a network for inference on a CPU.

PyTorch leaves short signals to a general loop and lays a weight out anew in every call; both cost more than the sum
itself where a stream brings a few steps at a time. A step with its neighbours is a row of numbers that lie side by side
in memory, so a convolution is one product. Values agree up to the order of summation.

Letters: B batch, C channels in, C' out, K taps, T steps.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.packed import PackedMatrix, inference_dtype

Module = TypeVar("Module", bound=nn.Module)


class PackedConv1d(nn.Conv1d):
    """`nn.Conv1d` of stride and dilation 1 over a packed copy of its weight; the ordinary call where that cannot be."""

    _packed: PackedMatrix | None

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, T] → [B, C', T']."""
        return self._convolved(x, int(self.padding[0]))

    def inner(self, x: Tensor) -> Tensor:
        """x [B, C, T] → [B, C', T - K + 1]: where all taps see something."""
        return self._convolved(x, 0)

    def _convolved(self, x: Tensor, padding: int) -> Tensor:
        taps = self.kernel_size[0]
        num_steps = x.shape[-1] + 2 * padding - taps + 1
        if not inference_dtype(x) == x.dtype == self.weight.dtype or num_steps < 1:
            return functional.conv1d(x, self.weight, self.bias, 1, padding)
        if self._packed is None:
            weight = self.weight.detach().transpose(1, 2).flatten(1)  # [C', K * C]
            bias = weight.new_zeros(len(weight)) if self.bias is None else self.bias
            self._packed = PackedMatrix(weight, bias, weight.dtype)
        rows = functional.pad(x.transpose(1, 2), (0, 0, padding, padding)).contiguous()  # [B, T, C]
        if taps > 1:
            size = (len(rows), num_steps, taps * rows.shape[2])
            rows = rows.as_strided(size, (rows.stride(0), rows.stride(1), 1)).contiguous()  # [B, T', K * C]
        return self._packed(rows).transpose(1, 2)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_packed": None}


def packed_convs(twin: Module) -> Module:
    """Turn the convolutions of a folded network (`nn.folding.folded`) into packed ones where they can be."""
    for module in twin.modules():
        if type(module) is nn.Conv1d and (module.groups, module.stride, module.dilation) == (1, (1,), (1,)):
            module.__class__ = PackedConv1d
            module.__dict__["_packed"] = None
    return twin
