"""Matrix products and convolutions with weights laid out for the processor, for inference on a CPU.

oneDNN's kernels read a weight in blocks of their own. Laying it out costs as much as using it, and the ordinary calls
do it, or do without, every time; here it is done once. Values agree with them up to the order of summation.

Letters: `...` any leading axes, I inputs, O outputs, B batch, C channels, T steps, K kernel taps.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Activation = Literal["none", "relu", "gelu", "silu"]
_NAME: dict[str, str] = {"none": "none", "relu": "relu", "gelu": "gelu", "silu": "swish"}
_ALGORITHM: dict[str, str] = {"none": "", "relu": "", "gelu": "none", "silu": ""}  # GELU without tanh


def inference_dtype(x: Tensor) -> torch.dtype | None:
    """The precision in which packed weights can compute on x: float32, or bfloat16 where automatic precision asks so.

    None where they cannot: gradients are wanted, x is on another device, a graph is being traced, or this build of
    torch or this processor lacks the kernels.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype if dtype in _supported() else None


def _supported() -> tuple[torch.dtype, ...]:
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return ()
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return ()
    return (torch.float32, torch.bfloat16) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else (torch.float32,)


class PackedMatrix:
    """`activation(x · weightᵀ + bias)` in one pass: x [..., I] → [..., O]; weight [O, I], bias [O]."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, activation: Activation = "none") -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous())
        self.bias = bias.detach().to(dtype)
        self.activation = activation

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., I] in the precision of the weight."""
        return torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, _NAME[self.activation], [], _ALGORITHM[self.activation]
        )

    def onto(self, y: Tensor, x: Tensor) -> Tensor:
        """y [..., O] + the product of x [..., I], without the activation."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, y, self.weight, self.bias, "add")

    def times(self, y: Tensor, x: Tensor) -> Tensor:
        """y [..., O] · the product of x [..., I], element by element, without the activation."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, y, self.weight, self.bias, "mul")


class PackedConv:
    """Grouped convolution over time with zeros of half a kernel on both sides, then the activation.

    weight [C', C / groups, K], bias [C']; x [B, T, C] → [B, T', C'], T' = T, or T + 1 where K is even.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, groups: int, dtype: torch.dtype, activation: Activation = "none"
    ) -> None:
        self.groups, self.activation = groups, activation
        self.padding = weight.shape[-1] // 2
        flat = weight.detach().to(dtype)[:, :, None].contiguous()  # [C', C / groups, 1, K]
        usual = [1, flat.shape[1] * groups, 1, 256]
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
            flat.to_mkldnn(), [0, self.padding], [1, 1], [1, 1], groups, usual
        )
        self.bias = bias.detach().to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, T, C] in the precision of the weight."""
        image = x.transpose(1, 2)[:, :, None]  # [B, C, 1, T], channels last in memory
        y = torch.ops.mkldnn._convolution_pointwise(
            image,
            self.weight,
            self.bias,
            (0, self.padding),
            (1, 1),
            (1, 1),
            self.groups,
            _NAME[self.activation],
            [],
            _ALGORITHM[self.activation],
        )
        return y[:, :, 0].transpose(1, 2)  # [B, T', C']
