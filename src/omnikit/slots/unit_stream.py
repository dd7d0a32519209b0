"""Units while sound is still arriving, from any tokenizer: it reads the last seconds again and again.

A tokenizer that attends to a whole utterance and normalises over it cannot read sound that has not been spoken. What
can be promised, and is: time is cut into blocks on a grid that does not depend on how the sound arrives; the units of a
block are those that `encode` gives for the `window_s` seconds that end `lookahead_s` after the block. They never change
afterwards. The last window ends with the recording and gives all that is left. `encode_live` says the same of a
finished recording, and the two are equal, unit for unit. How many units are those of `encode` on the whole recording is
a matter of the weights; `bench/streaming.py` measures it.

Letters: B batch, S samples, K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from omnikit.errors import MediaError, OmnikitError
from omnikit.slots.sound import check_audio
from omnikit.types import Audio, Units

if TYPE_CHECKING:
    from omnikit.slots.tokenizer import SpeechTokenizer

_ROWS = 16
"""Windows that `encode_live` reads in one batch."""


@dataclass(frozen=True)
class Live:
    """How live sound is read: `block_s` seconds of units at a time, each from a window of `window_s` seconds.

    The window ends `lookahead_s` after the block, which is sound that has to be waited for: a unit is known between
    `lookahead_s` and `lookahead_s + block_s` after it was spoken. Reading costs `window_s / block_s` times as much as
    reading the recording once. Times are rounded to whole units.
    """

    window_s: float = 10.24
    block_s: float = 0.48
    lookahead_s: float = 0.32

    @property
    def lookahead_ms(self) -> float:
        """The longest time between a unit and the moment it is known, computing not counted."""
        return 1000 * (self.block_s + self.lookahead_s)


class Grid:
    """`Live` in whole units of a tokenizer; the same for a stream and for a finished recording."""

    def __init__(self, tokenizer: SpeechTokenizer, live: Live) -> None:
        contract = tokenizer.contract(**tokenizer.parameters_given)
        self.sample_rate = int(contract.needs["audio"].sample_rate)  # type: ignore[attr-defined]
        rate = Fraction(contract.gives["units"].rate)  # type: ignore[attr-defined]
        samples = self.sample_rate / rate
        self.window, self.block, self.lookahead = (
            round(seconds * rate) for seconds in (live.window_s, live.block_s, live.lookahead_s)
        )
        self.samples = int(samples)
        if samples != self.samples:
            raise OmnikitError(f"A unit of {float(1 / rate):g} s is no whole number of samples; it cannot be streamed.")
        if min(self.block, self.lookahead) < 1 or self.window < self.block + self.lookahead:
            raise OmnikitError(
                f"Live sound cannot be read with window_s={live.window_s:g}, block_s={live.block_s:g} "
                f"and lookahead_s={live.lookahead_s:g}.\n"
                f"Block and lookahead are at least a unit ({float(1 / rate):g} s), and the window holds both."
            )

    def horizon(self, given: int) -> int:
        """Samples that must have been heard before the block behind `given` units is read."""
        return (given + self.block + self.lookahead) * self.samples

    def first(self, end: int) -> int:
        """The first unit of the window that ends with sample `end`."""
        return max(0, -(-end // self.samples) - self.window)


class UnitStream:
    """One live recording: `feed` it sound as it arrives, then `finish`; both give the units that are ready.

    Where the tokenizer merges runs, a unit is ready when its run is over, so that its duration is known.
    """

    def __init__(self, tokenizer: SpeechTokenizer, live: Live | None = None) -> None:
        self.tokenizer = tokenizer
        self._grid = Grid(tokenizer, live or Live())
        self._kept: Tensor | None = None  # the last samples heard [1, S]
        self._heard = 0  # samples in all
        self._given = 0  # units read
        self._run: Tensor | None = None  # units [K, T], all equal, that may go on
        self._like: Units | None = None  # layout and vocabulary of the units
        self._finished = False

    def feed(self, audio: Audio) -> Units | None:
        """Take the next sound, one row at the tokenizer's rate, and give the units that it completes.

        Raises `MediaError` for sound that cannot be read, and after `finish`.
        """
        if self._finished:
            raise MediaError("This stream is finished. Make a new one for a new recording.")
        if audio.wave.shape[-1] == 0:
            return None
        check_audio(audio, self._grid.sample_rate, "The stream")
        if len(audio.lengths) != 1:
            raise MediaError(
                f"A stream hears one recording, {len(audio.lengths)} rows were given; encode takes batches."
            )
        new = audio.wave[:, : int(audio.lengths[0])]
        self._kept = new if self._kept is None else torch.cat([self._kept, new], 1)
        self._heard += new.shape[1]
        read = []
        while self._heard >= (horizon := self._grid.horizon(self._given)):
            read.append(self._read(horizon)[:, : self._grid.block])
            self._given += self._grid.block
        needed = self._grid.first(self._heard) * self._grid.samples  # where the window begins if this was the end
        self._kept = self._kept[:, max(0, needed - (self._heard - self._kept.shape[1])) :]
        return self._ready(read, last=False)

    def finish(self) -> Units | None:
        """Give the units that are left; None where all were given. Raises `MediaError` where nothing was heard."""
        if not self._heard:
            raise MediaError("The stream ended before its first sample.")
        if self._finished:
            return None
        self._finished = True
        return self._ready([self._read(self._heard)], last=True)

    def _read(self, end: int) -> Tensor:
        """All further units [K, T] out of the window that ends with sample `end`."""
        assert self._kept is not None
        first = self._grid.first(end)
        begin = self._heard - self._kept.shape[1]  # place of the first sample that is kept
        wave = self._kept[:, first * self._grid.samples - begin : end - begin]
        length = torch.tensor([wave.shape[1]], device=wave.device)
        self._like = self.tokenizer.encode(Audio(wave, length, self._grid.sample_rate))
        return frames_of(self._like)[0][:, self._given - first :]

    def _ready(self, read: Sequence[Tensor], last: bool) -> Units | None:
        """What was read, behind the run that waited; the last run waits again unless this is the end."""
        if not read or self._like is None:
            return None
        codes = torch.cat([*([] if self._run is None else [self._run]), *read], 1)
        if self._like.layout == "reduced" and not last:
            changes = (codes[:, 1:] != codes[:, :-1]).any(0).nonzero()
            cut = int(changes[-1]) + 1 if len(changes) else 0
            codes, self._run = codes[:, :cut], codes[:, cut:]
        return units_of([codes], self._like) if codes.shape[1] else None


def encode_live(tokenizer: SpeechTokenizer, audio: Audio, live: Live | None = None) -> Units:
    """The units that a stream of each row gives, in its layout; windows are read side by side in batches."""
    grid = Grid(tokenizer, live or Live())
    check_audio(audio, grid.sample_rate, "encode_live")
    plan = [item for row, length in enumerate(audio.lengths.tolist()) for item in _windows(grid, row, length)]
    rows: list[list[Tensor]] = [[] for _ in audio.lengths]
    for start in range(0, len(plan), _ROWS):
        part = plan[start : start + _ROWS]
        waves = [audio.wave[item.row, item.first * grid.samples : item.end] for item in part]
        lengths = torch.tensor([len(wave) for wave in waves], device=audio.wave.device)
        units = tokenizer.encode(Audio(pad_sequence(waves, batch_first=True), lengths, grid.sample_rate))
        for item, codes in zip(part, frames_of(units), strict=True):
            rows[item.row].append(codes[:, item.given - item.first :][:, : item.count])
    return units_of([torch.cat(pieces, 1) for pieces in rows], units)


@dataclass(frozen=True)
class _Window:
    """Units `first`… of a row are read from samples up to `end`; `count` are kept (None: all) behind `given`."""

    row: int
    first: int
    end: int
    given: int
    count: int | None


def _windows(grid: Grid, row: int, length: int) -> Iterator[_Window]:
    given = 0
    while (end := grid.horizon(given)) <= length:
        yield _Window(row, grid.first(end), end, given, grid.block)
        given += grid.block
    yield _Window(row, grid.first(length), length, given, None)


def frames_of(units: Units) -> list[Tensor]:
    """The units of every row, one a frame: [K, T] each; merged runs are spelled out."""
    rows = []
    for row, length in enumerate(units.lengths.tolist()):
        codes = units.codes[row, :, :length]
        if units.durations is not None:
            codes = codes.repeat_interleave(units.durations[row, :length], dim=1)
        rows.append(codes)
    return rows


def units_of(rows: Sequence[Tensor], like: Units) -> Units:
    """Rows of frames [K, T] as units in the layout and vocabulary of `like`; runs are merged where it merges them."""
    durations = None
    if like.layout == "reduced":
        merged = [torch.unique_consecutive(row, return_counts=True, dim=1) for row in rows]
        rows = [codes for codes, _ in merged]
        durations = pad_sequence([counts for _, counts in merged], batch_first=True)  # [B, T]
    codes = pad_sequence([row.T for row in rows], batch_first=True).transpose(1, 2)  # [B, K, T]
    lengths = torch.tensor([row.shape[1] for row in rows], device=codes.device)
    return replace(like, codes=codes, lengths=lengths, durations=durations)
