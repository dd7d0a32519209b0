"""A network whose linear layers are laid out for the processor, for inference on a CPU."""

from __future__ import annotations

from typing import TypeVar, cast

from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.folding import Remade
from omnikit.nn.packed import PackedMatrix, inference_dtype

MOST_BYTES = 2 << 30
"""Weights that are laid out at most: they are copies, and those of a large model may not fit beside it."""

Module = TypeVar("Module", bound=nn.Module)


class PackedLinear(nn.Module):
    """`nn.Linear` over a packed copy of its weight; the ordinary product where packed weights cannot compute."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        bias = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
        self._packed = PackedMatrix(linear.weight, bias, linear.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., I] → [..., O]."""
        if inference_dtype(x) == self.weight.dtype == x.dtype:
            return self._packed(x)
        return functional.linear(x, self.weight, self.bias)


class PackedTwin:
    """A twin of a network with packed linear layers that shares all else, made anew when weights change."""

    def __init__(self) -> None:
        self._kept: Remade[nn.Module] = Remade()

    def of(self, module: Module) -> Module:
        """The twin; `module` itself where packed weights cannot compute, or would take more than `MOST_BYTES`."""
        if not can_pack(module):
            return module
        return cast(Module, self._kept.get(module.parameters(), lambda: _twin(module), module.training))


def can_pack(module: nn.Module) -> bool:
    """Whether the linear layers of a network can compute packed, and copies of them are not too large."""
    weights = [child.weight for child in module.modules() if type(child) is nn.Linear]
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    return size <= MOST_BYTES and all(_fits(weight) for weight in weights)


def _fits(weight: Tensor) -> bool:
    """Whether a weight is a plain one, in a precision and on a device that packed ones compute in."""
    return type(weight) is nn.Parameter and inference_dtype(weight) == weight.dtype


def _twin(module: Module) -> Module:
    twin = module.__new__(type(module))
    children = {
        name: PackedLinear(child) if type(child) is nn.Linear else None if child is None else _twin(child)
        for name, child in module._modules.items()
    }
    twin.__dict__ = {**module.__dict__, "_modules": children}
    return twin
