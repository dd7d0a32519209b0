"""HiFi-GAN for inference by a C kernel: what `nn.hifigan_stream` gives, in half the products.

Fed piece by piece; every layer keeps the few steps that it needs again. Long pieces are taken in parts that suit the
cache, level by level, so that a part is sound before the next one is looked at.

Letters: C channels, T steps of a layer, L latent frames, S = L · hop samples, G style width.

Ref: Kong et al., "HiFi-GAN", NeurIPS 2020 (the network, see `nn.hifigan`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from omnikit.nn.conv_kernel import Job, Workshop, kernel
from omnikit.nn.fast_conv import FastConv, FastUp, Place, Tape
from omnikit.nn.hifigan import LAST_SLOPE, SLOPE, HiFiGAN, ResBlock
from omnikit.nn.hifigan_stream import HiFiGANStream
from omnikit.nn.weight_norm import plain_weight

_PART_BYTES = 512 << 10
"""Of a signal, so much is computed at a time by every thread."""


def decoding_head(head: HiFiGAN, dtype: torch.dtype) -> HiFiGANKernel | HiFiGANStream:
    """The head made ready for decoding in `dtype`: by the kernel in float32 on a CPU where it can be built."""
    wanted = dtype == torch.float32 and head.conv_pre.weight.device.type == "cpu"
    built = kernel() if wanted else None
    return HiFiGANStream(head, dtype) if built is None else HiFiGANKernel(head, built.panel)


def _conv(panel: int, conv: nn.Module, slope: float, gain: float = 1.0) -> FastConv:
    assert isinstance(conv, nn.Conv1d)
    weight = gain * plain_weight(conv)
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias
    return FastConv(panel, weight, bias, slope, int(conv.padding[0]), conv.dilation[0])


def _res_block(module: nn.Module) -> ResBlock:
    assert isinstance(module, ResBlock)
    return module


class _Level(nn.Module):
    """An upsampling and the residual blocks behind it."""

    def __init__(self, panel: int, up: nn.Module, blocks: list[ResBlock], gain: float) -> None:
        super().__init__()
        assert isinstance(up, nn.ConvTranspose1d) and up.bias is not None
        weight = gain * plain_weight(up)
        self.up = FastUp(panel, weight, up.bias.detach(), SLOPE, up.stride[0], int(up.padding[0]))
        self.blocks = nn.ModuleList()
        for block in sorted(blocks, key=lambda block: block.reach):
            pairs = zip(block.convs1, block.convs2, strict=True)
            convs = [_conv(panel, conv, SLOPE) for pair in pairs for conv in pair]
            self.blocks.append(nn.ModuleList(convs))


class HiFiGANKernel(nn.Module):
    """A HiFi-GAN made ready for decoding by the kernel in float32; `begin` starts one waveform."""

    def __init__(self, head: HiFiGAN, panel: int) -> None:
        super().__init__()
        self.panel, self.reach = panel, head.reach
        gain = 1 / head.num_kernels  # of the mean over kernels, taken by the next layer: leaky ReLUs let factors pass
        self.first = _conv(panel, head.conv_pre, slope=1.0)
        self.levels = nn.ModuleList(
            _Level(panel, up, head.blocks(level), gain if level else 1.0) for level, up in enumerate(head.ups)
        )
        self.last = _conv(panel, head.conv_post, LAST_SLOPE, gain)
        self.longest_block = max(
            2 * len(block.convs1) for level in range(len(head.ups)) for block in head.blocks(level)
        )
        self.cond: nn.Module | None = head.cond if hasattr(head, "cond") else None

    def begin(self, g: Tensor | None = None) -> _Stage:
        """A stage that turns latents [1, C, L] in the style g [1, G, 1] into a waveform [1, 1, S]."""
        return _Stage(self, g)


class _Places:
    """Where signals lie: those that only one part of one block needs share memory with those of all others."""

    def __init__(self, head: HiFiGANKernel) -> None:
        self.inside = [Place() for _ in range(head.longest_block - 1)]
        self.latents, self.begun, self.x = Place(), Place(), Place()


class _BlockState:
    """One residual block at work: the signals between its convolutions, and how many outputs it has given."""

    def __init__(self, convs: nn.Module) -> None:
        self.convs = [conv for conv in convs.children() if isinstance(conv, FastConv)]
        self.tapes = [Tape(conv.out_dim) for conv in self.convs[:-1]]
        self.done = 0

    def jobs(self, x: Tape, total: Tape, last: bool, onto: bool) -> Iterator[Job]:
        """What makes the next outputs out of x and begins `total` with them, or adds them `onto` it."""
        residual = x
        for index, (conv, source) in enumerate(zip(self.convs, [x, *self.tapes], strict=True)):
            final = index == len(self.tapes)
            target, start = (total, self.done) if final else (self.tapes[index], self.tapes[index].stop)
            stop = max(start, source.stop if last else source.stop - conv.before)
            second = index % 2 == 1
            if stop > start:
                add = residual.address(start) if second else None
                yield conv.job(source, target.address(start), start, stop, add, final and onto)
            if final:
                self.done = stop
            else:
                target.stop = stop
            residual = target if second else residual

    def forget(self) -> None:
        """Keep what the next outputs look at."""
        for conv, source in zip(self.convs[1:], self.tapes, strict=True):
            source.forget(source.stop - 2 * conv.before)


class _LevelState:
    """One level at work; `total` is the sum of what its blocks give, the slowest of which is the last."""

    def __init__(self, level: nn.Module) -> None:
        assert isinstance(level, _Level)
        self.up, self.read = level.up, 0
        self.blocks = [_BlockState(convs) for convs in level.blocks.children()]
        self.x, self.total = Tape(self.up.signal_dim, self.up.padding), Tape(self.up.signal_dim)
        self.place = Place()
        self.at_once = max(1, _PART_BYTES // (4 * self.up.signal_dim * self.up.rate))

    def feed(self, workshop: Workshop, places: _Places, source: Tape, stop: int, last: bool) -> None:
        """Turn the steps of `source` up to `stop` into steps of `total`."""
        up, x, total, most = self.up, self.x, self.total, stop * self.up.rate
        x.lay(places.x, most)
        total.lay(self.place, most)
        workshop.run([up.job(source, x.address(self.read * up.rate - up.padding), self.read, stop)])
        self.read = stop
        x.stop = up.length(source.stop) if last else max(0, stop * up.rate - up.padding)
        for index, block in enumerate(self.blocks):
            for tape, place in zip(block.tapes, places.inside, strict=False):
                tape.lay(place, most)
            workshop.run(list(block.jobs(x, total, last, onto=index > 0)))
            block.forget()
        x.forget(x.stop - max(2 * block.convs[0].before for block in self.blocks))
        total.stop = self.blocks[-1].done

    def forget(self, first: int) -> None:
        """Keep the steps of `total` from `first` on, also those that are no whole sums yet."""
        self.total.forget(first, self.blocks[0].done)


class _Stage:
    def __init__(self, head: HiFiGANKernel, g: Tensor | None) -> None:
        built = kernel()
        assert built is not None and built.panel == head.panel, "weights lie as another machine's kernel reads them"
        self.first, self.last, self.bias = head.first, head.last, head.first.bias
        if g is not None and head.cond is not None:
            self.bias = head.cond(g)[0, :, 0] + head.first.bias
        self.workshop, self.places = Workshop(built), _Places(head)
        self.latents, self.begun = Tape(head.first.dim), Tape(head.first.out_dim)
        self.levels = [_LevelState(level) for level in head.levels.children()]
        self.given = 0

    def __call__(self, x: Tensor, last: bool) -> Tensor:
        """The next latents x [1, C, L] → the samples [1, 1, S] that are final now."""
        self.latents.append(self.places.latents, x[0].T)
        start, stop = self.begun.stop, self.latents.stop - (0 if last else self.first.before)
        if stop > start:
            self.begun.lay(self.places.begun, stop)
            target = self.begun.address(start)
            self.workshop.run([self.first.job(self.latents, target, start, stop, bias=self.bias)])
            self.begun.stop = stop
        self.latents.forget(self.latents.stop - 2 * self.first.before)
        waves = torch.cat(list(self._sound(0, self.begun, last)))  # [S, 1]
        self.begun.forget(self.begun.stop - self.levels[0].up.before)
        return waves.tanh().T[None]

    def _sound(self, index: int, source: Tape, last: bool) -> Iterator[Tensor]:
        """What the levels from `index` on make of `source`, part by part [S, 1]."""
        if index == len(self.levels):
            yield self._samples(source, last)
            return
        level = self.levels[index]
        stop = max(level.read, source.stop + (level.up.before if last else 0))
        while True:
            part = min(stop, level.read + level.at_once * self.workshop.num_threads)
            level.feed(self.workshop, self.places, source, part, last and part == stop)
            yield from self._sound(index + 1, level.total, last and part == stop)
            following = self.last if level is self.levels[-1] else self.levels[index + 1].up
            level.forget(level.total.stop - 2 * following.before)
            if part == stop:
                return

    def _samples(self, source: Tape, last: bool) -> Tensor:
        """The next samples [S, 1] before they are bounded."""
        start, self.given = self.given, max(self.given, source.stop - (0 if last else self.last.before))
        wave = torch.empty(self.given - start, 1)
        if len(wave):
            self.workshop.run([self.last.job(source, wave.data_ptr(), start, self.given)])
        return wave
