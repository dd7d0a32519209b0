"""Floating-point operations of a training step: matrix products, convolutions and attention, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count


class FlopCount(TorchDispatchMode):
    """Adds up, in `total`, the operations of everything that runs inside, by PyTorch's own formulas (`flop_counter`).

    A multiplication with its addition counts as two; what is recomputed for memory's sake counts as often as it runs.
    Unlike `FlopCounterMode` it does not tell modules apart, hooks into none of them, and knows the attention of CPUs.
    """

    def __init__(self) -> None:
        super().__init__()
        aten = torch.ops.aten
        self.total = 0
        self.formulas = {
            **flop_registry,
            aten._scaled_dot_product_flash_attention_for_cpu: _attention,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        }

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = self.formulas.get(getattr(func, "_overloadpacket", func))
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def can_count(trainer: Any, module: lightning.LightningModule) -> bool:
    """Whether a step of this run can be counted: compiled code cannot, nor what other processes do."""
    compiled = any(getattr(part, "_compiled_call_impl", None) is not None for part in module.modules())
    return trainer.world_size == 1 and not compiled


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)
