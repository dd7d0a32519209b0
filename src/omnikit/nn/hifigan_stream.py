"""HiFi-GAN for inference: fed piece by piece, every layer keeps the few steps that it needs again.

Nothing is computed twice, so small pieces cost hardly more than the whole, and a piece's activations stay in the cache
of a processor. Tensors lie in memory channel by channel within a step, which convolutions on processors like best.

Letters: B batch, C channels, T steps of a layer, L latent frames, S = L · hop samples, G style width.

Ref: Kong et al., "HiFi-GAN", NeurIPS 2020 (the network, see `nn.hifigan`).
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.hifigan import LAST_SLOPE, SLOPE, HiFiGAN, ResBlock
from omnikit.nn.weight_norm import plain_weight


def _line(x: Tensor) -> Tensor:
    """[B, C, T] → [B, C, 1, T] with channels last in memory."""
    return x[:, :, None].contiguous(memory_format=torch.channels_last)


def _filled(past: Tensor | None, x: Tensor, zeros: tuple[int, int], slope: float) -> Tensor:
    """Past steps, then the leaky ReLU of x, with zeros before and after: one tensor, written once."""
    before, after = zeros
    old = 0 if past is None else past.shape[-1]
    size = (x.shape[0], x.shape[1], 1, before + old + x.shape[-1] + after)
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    if past is not None:
        out[..., before : before + old] = past
    start = before + old
    if x.shape[-1]:
        torch._C._nn.leaky_relu(x, slope, out=out[..., start : start + x.shape[-1]])
    out[..., :before] = 0
    out[..., start + x.shape[-1] :] = 0
    return out


class _Conv(nn.Module):
    """The leaky ReLU of its input, convolved."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Module, dtype: torch.dtype, slope: float, gain: float = 1.0) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv1d)
        self.register_buffer("weight", _line(gain * plain_weight(conv)).to(dtype))
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach().to(dtype))
        self.dilation, self.slope = conv.dilation[0], slope
        self.padding = int(conv.padding[0])
        self.context = (conv.kernel_size[0] - 1) * self.dilation


class _ConvStage:
    def __init__(self, conv: nn.Module) -> None:
        assert isinstance(conv, _Conv)
        self.conv = conv
        self._past: Tensor | None = None

    def __call__(self, x: Tensor, last: bool, bias: Tensor | None = None) -> Tensor:
        """`bias` stands in for that of the convolution."""
        conv = self.conv
        zeros = (conv.padding if self._past is None else 0, conv.context - conv.padding if last else 0)
        seen = _filled(self._past, x.to(conv.weight.dtype), zeros, conv.slope)  # [B, C, 1, T]
        self._past = seen[..., max(0, seen.shape[-1] - conv.context) :].clone()  # and the rest is free for others
        if seen.shape[-1] <= conv.context:
            return seen.new_empty(x.shape[0], conv.weight.shape[0], 1, 0)
        return functional.conv2d(seen, conv.weight, conv.bias if bias is None else bias, dilation=(1, conv.dilation))


class _Up(nn.Module):
    """The leaky ReLU of its input, spread by a transposed convolution."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Module, dtype: torch.dtype, gain: float) -> None:
        super().__init__()
        assert isinstance(conv, nn.ConvTranspose1d) and conv.bias is not None
        self.register_buffer("weight", _line(gain * plain_weight(conv)).to(dtype))
        self.register_buffer("bias", conv.bias.detach().to(dtype))
        self.rate, self.padding = conv.stride[0], int(conv.padding[0])
        self.context = (conv.kernel_size[0] - 1) // self.rate


class _UpStage:
    def __init__(self, conv: nn.Module) -> None:
        assert isinstance(conv, _Up)
        self.conv = conv
        self._past: Tensor | None = None

    def __call__(self, x: Tensor, last: bool) -> Tensor:
        conv = self.conv
        old = 0 if self._past is None else self._past.shape[-1]
        seen = _filled(self._past, x, (0, 0), SLOPE)
        self._past = seen[..., max(0, seen.shape[-1] - conv.context) :].clone()  # and the rest is free for others
        if not seen.shape[-1]:
            return seen.new_empty(x.shape[0], conv.weight.shape[1], 1, 0)
        out = functional.conv_transpose2d(seen, conv.weight, conv.bias, stride=(1, conv.rate))
        start = max(old * conv.rate, conv.padding)
        stop = out.shape[-1] - conv.padding if last else seen.shape[-1] * conv.rate
        return out[..., start : max(start, stop)]


class _ResBlock(nn.Module):
    """Residual pairs of convolutions."""

    def __init__(self, block: ResBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.firsts = nn.ModuleList(_Conv(conv, dtype, SLOPE) for conv in block.convs1)
        self.seconds = nn.ModuleList(_Conv(conv, dtype, SLOPE) for conv in block.convs2)


class _ResBlockStage:
    def __init__(self, block: nn.Module) -> None:
        assert isinstance(block, _ResBlock)
        pairs = zip(block.firsts, block.seconds, strict=True)
        self.pairs = [(_ConvStage(dilated), _ConvStage(plain), _Late()) for dilated, plain in pairs]

    def __call__(self, x: Tensor, last: bool) -> Tensor:
        for dilated, plain, late in self.pairs:
            x = late.added(plain(dilated(x, last), last), x)
        return x


class _Late:
    """Steps that wait until a longer path through the network has caught up with them."""

    def __init__(self) -> None:
        self._waiting: deque[Tensor] = deque()

    def added(self, y: Tensor, x: Tensor) -> Tensor:
        """Take the next steps x of the short path and add to y, the next of the long one, those that belong to them."""
        self._waiting.append(x)
        done = 0
        while done < y.shape[-1]:
            oldest = self._waiting.popleft()
            count = min(oldest.shape[-1], y.shape[-1] - done)
            y[..., done : done + count] += oldest[..., :count]
            if count < oldest.shape[-1]:
                self._waiting.appendleft(oldest[..., count:].clone())
            done += count
        return y


class HiFiGANStream(nn.Module):
    """A HiFi-GAN made ready for decoding in `dtype`; `begin` starts one waveform."""

    def __init__(self, head: HiFiGAN, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.reach = head.reach
        gain = 1 / head.num_kernels  # of the mean over kernels, taken by the next layer: leaky ReLUs let factors pass
        self.first = _Conv(head.conv_pre, dtype, slope=1.0)
        self.ups, self.levels = nn.ModuleList(), nn.ModuleList()
        for level, up in enumerate(head.ups):
            self.ups.append(_Up(up, dtype, gain if level else 1.0))
            blocks = sorted(head.blocks(level), key=lambda block: block.reach)
            self.levels.append(nn.ModuleList(_ResBlock(block, dtype) for block in blocks))
        self.last = _Conv(head.conv_post, torch.float32, LAST_SLOPE, gain)
        self.cond: nn.Module | None = head.cond if hasattr(head, "cond") else None

    def begin(self, g: Tensor | None = None) -> _HiFiGANStage:
        """A stage that turns latents [1, C, L] in the style g [1, G, 1] into a waveform [1, 1, S]."""
        return _HiFiGANStage(self, g)


class _HiFiGANStage:
    def __init__(self, head: HiFiGANStream, g: Tensor | None) -> None:
        self.first, self.last = _ConvStage(head.first), _ConvStage(head.last)
        self.bias = None if g is None or head.cond is None else (head.cond(g)[0, :, 0] + head.first.bias)
        if self.bias is not None:
            self.bias = self.bias.to(head.first.weight.dtype)
        self.levels = [
            (_UpStage(up), [(_ResBlockStage(block), _Late()) for block in blocks.children()])
            for up, blocks in zip(head.ups, head.levels, strict=True)
        ]

    def __call__(self, x: Tensor, last: bool) -> Tensor:
        x = self.first(_line(x), last, self.bias)
        for up, blocks in self.levels:
            x = up(x, last)
            *faster, (slowest, _) = blocks
            total = slowest(x, last)
            for block, late in faster:
                total = late.added(total, block(x, last))
            x = total
        return self.last(x.float(), last).tanh()[:, :, 0]
