"""Convolutions of endless signals by the C kernel of `nn.conv_kernel`: their weights, and the memory between them.

Letters: C channels in, C' out, K taps, J pieces of taps, P points, T steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.conv_kernel import TAPS, Job, taps_matrix


class Place:
    """Memory for one tape at a time; it grows to what it was ever asked for."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def rows(self, count: int, dim: int) -> Tensor:
        """Room for [T, C]."""
        if count * dim > len(self._memory):
            self._memory = torch.empty(count * dim)
        return self._memory[: count * dim].view(count, dim)


class Tape:
    """The latest steps of a signal of `dim` channels; those before its first are zeros. `stop` steps are there.

    It lies in a place while it is written, and keeps no more than is needed again while others lie there. `spare` steps
    before the first one can be written to and are never read.
    """

    def __init__(self, dim: int, spare: int = 0) -> None:
        self.dim, self.spare = dim, spare
        self.first = self.stop = 0
        self._rows = torch.empty(spare, dim)

    def lay(self, place: Place, stop: int) -> None:
        """Lie in `place`, with room for the steps up to `stop`."""
        rows = place.rows(self.spare + stop - self.first, self.dim)
        rows[: len(self._rows)] = self._rows
        self._rows = rows

    def append(self, place: Place, rows: Tensor) -> None:
        """The next steps [T, C]."""
        start, self.stop = self.stop, self.stop + len(rows)
        self.lay(place, self.stop)
        self._between(start, self.stop).copy_(rows)

    def address(self, step: int) -> int:
        """Where a step lies."""
        return self._rows.data_ptr() + 4 * self.dim * (self.spare + step - self.first)

    def forget(self, first: int, written: int = 0) -> None:
        """Keep the steps from `first` on, up to `written` where more than `stop` were written; leave the place."""
        first = max(self.first, first)
        kept = self._between(first - self.spare, max(self.stop, written)).clone()
        self.first, self._rows = first, kept

    def _between(self, start: int, stop: int) -> Tensor:
        low = self.spare - self.first
        return self._rows[low + start : low + stop]


class FastConv(nn.Module):
    """A convolution over time of the leaky ReLU of its input; `weight` [C', C, K], `bias` [C'].

    `before` steps in front of an output belong to it. The kernel makes `panel` channels at a time. `direct`: summed tap
    by tap, for few taps and many channels.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        panel: int,
        weight: Tensor,
        bias: Tensor,
        slope: float,
        before: int,
        dilation: int = 1,
        direct: bool = False,
    ) -> None:
        super().__init__()
        self.slope, self.before, self.dilation = slope, before, dilation
        self.out_dim, self.dim, num_taps = weight.shape
        self.pieces = num_taps if direct else math.ceil(num_taps / TAPS)
        pieces = functional.pad(weight.double(), (0, 0 if direct else self.pieces * TAPS - num_taps))
        pieces = pieces.unflatten(2, (self.pieces, -1))  # [C', C, J, taps]
        points = pieces if direct else pieces @ taps_matrix().T  # [C', C, J, P]
        self.points = points.shape[-1]
        points = functional.pad(points.float(), (0, 0, 0, 0, 0, 0, 0, -self.out_dim % panel))
        panels = points.unflatten(0, (-1, panel)).permute(0, 4, 3, 2, 1)  # [panels, P, J, C, panel]
        self.register_buffer("weight", panels.contiguous())
        self.register_buffer("bias", bias.detach().float().clone())

    def job(
        self,
        source: Tape,
        target: int,
        start: int,
        stop: int,
        add: int | None = None,
        onto: bool = False,
        bias: Tensor | None = None,
    ) -> Job:
        """Outputs `start` to `stop` from `source`, written to the address `target`.

        `add` is where rows lie that are added to them; `onto`: they are added to what lies at `target`.
        """
        return Job(
            x=source.address(source.first),
            first=source.first,
            stop=source.stop,
            weight=self.weight.data_ptr(),
            bias=(self.bias if bias is None else bias).data_ptr(),
            add=add,
            y=target,
            before=self.before,
            start=start,
            end=stop,
            dim=self.dim,
            out_dim=self.out_dim,
            pieces=self.pieces,
            dilation=self.dilation,
            points=self.points,
            onto=onto,
            slope=self.slope,
        )


class FastUp(FastConv):
    """A transposed convolution of the leaky ReLU of its input; `weight` [C, C', K], `bias` [C'], `rate` outputs a step.

    It is a convolution with `rate` · C' outputs: output step b holds the samples b · rate - padding and those after it.
    """

    def __init__(self, panel: int, weight: Tensor, bias: Tensor, slope: float, rate: int, padding: int) -> None:
        _, out_dim, num_taps = weight.shape
        pieces = math.ceil(num_taps / rate)
        taps = functional.pad(weight, (0, pieces * rate - num_taps)).unflatten(2, (pieces, rate)).flip(2)
        direct = taps.permute(3, 1, 0, 2).flatten(0, 1)  # [rate · C', C, J]
        super().__init__(panel, direct, bias.repeat(rate), slope, before=pieces - 1, direct=True)
        self.rate, self.padding, self.kernel_size, self.signal_dim = rate, padding, num_taps, out_dim

    def length(self, num_steps: int) -> int:
        """Samples that `num_steps` steps become."""
        return max(0, (num_steps - 1) * self.rate + self.kernel_size - 2 * self.padding) if num_steps else 0
