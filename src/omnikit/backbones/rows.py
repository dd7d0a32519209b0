"""A batch of segment sequences laid out in token ids, features in their places.

Letters: B sequences, L positions, K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from omnikit.backbones.constrained import Marks
from omnikit.backbones.text_tokenizer import TextTokenizer
from omnikit.backbones.unit_vocabulary import UnitVocabulary
from omnikit.errors import OmnikitError, unknown_name
from omnikit.slots.backbone import Segment
from omnikit.slots.emitter import HiddenEmitter, Ids

FRAME = -1
"""Stands for a position that is read as features."""
Place = tuple[int, int]
"""A row and a position in it."""


@dataclass(frozen=True)
class Spoken:
    """A trained run of units: its row, its first position, and the positions of the text that it says."""

    row: int
    start: int
    units: Ids
    said: tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """A batch laid out: ids of every row, all features in reading order, (row, position) of every trained token.

    `beside` are further ids that are read at a position together with its own; `runs` the units that an emitter has to
    write; `typed` the positions of each row's last typed text.
    """

    ids: list[list[int]]
    frames: list[Tensor]
    trained: list[Place]
    beside: dict[Place, tuple[int, ...]] = field(default_factory=dict)
    runs: list[Spoken] = field(default_factory=list)
    typed: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Positions of the longest row."""
        return max(map(len, self.ids))

    def packed(self, starts: Sequence[int]) -> Rows:
        """All rows one behind the other as one, in which they start at `starts`; only what is read."""
        beside = {(0, starts[row] + position): ids for (row, position), ids in self.beside.items()}
        return Rows([[index for ids in self.ids for index in ids]], self.frames, [], beside)


class RowLayout:
    """How segments become token ids, for one vocabulary and width."""

    def __init__(self, text: TextTokenizer, units: UnitVocabulary, width: int) -> None:
        self.text, self.units, self.width = text, units, width
        self.size = max(text.size, units.last + 1)

    def rows(self, sequences: Sequence[Sequence[Segment]], emitter: HiddenEmitter | None = None) -> Rows:
        """Lay a batch out. Raises `OmnikitError` for an empty batch or sequence."""
        if not sequences:
            raise OmnikitError("a batch needs at least one sequence.")
        rows = Rows([], [], [])
        for number, sequence in enumerate(sequences):
            row: list[int] = []
            written: list[int] = []  # positions of trained text
            typed: list[int] = []  # positions of text since the user's turn began
            for segment in sequence:
                if emitter is not None and segment.units is not None:
                    if segment.train and segment.units and segment.units[0]:
                        rows.runs.append(Spoken(number, len(row), segment.units, tuple(written or typed)))
                    self._place(segment, emitter, rows, number, row)
                    continue
                ids = self.ids_of(segment)
                if segment.train:
                    rows.trained.extend((number, len(row) + place) for place in range(len(ids)))
                if segment.frames is not None:
                    rows.frames.append(segment.frames)
                if segment.control == "user":
                    typed = []
                if segment.text is not None and not segment.heard:
                    (written if segment.train else typed).extend(range(len(row), len(row) + len(ids)))
                row += ids
            if not row:
                raise OmnikitError(f"sequence {number} of the batch is empty.")
            rows.ids.append(row)
            rows.typed.append(tuple(typed))
        return rows

    def count(self, segment: Segment, emitter: HiddenEmitter | None) -> int:
        """Positions that a segment takes."""
        count = len(self.ids_of(segment))
        return count if emitter is None or segment.units is None else len(emitter.places(segment.units, segment.train))

    def ids_of(self, segment: Segment) -> list[int]:
        """Token ids of a segment; each feature is a `FRAME`. Raises `OmnikitError` for a malformed one."""
        given = [value for value in (segment.text, segment.units, segment.frames, segment.control) if value is not None]
        if len(given) != 1:
            raise OmnikitError(f"a segment holds one of text, units, frames and control; this one holds {len(given)}.")
        if segment.text is not None:
            return self.text.encode(segment.text)
        if segment.units is not None:
            return self.units.ids(segment.units)
        if segment.control is not None:
            return list(self.control(segment.control))
        assert segment.frames is not None
        shape = list(segment.frames.shape)
        if segment.train or len(shape) != 2 or shape[1] != self.width:
            raise OmnikitError(f"features are [N, {self.width}] and never trained; got {shape}, train={segment.train}.")
        return [FRAME] * shape[0]

    def control(self, name: str) -> tuple[int, ...]:
        """The ids of a control. Raises `UnknownName` for one that does not exist."""
        if name not in self.text.controls:
            raise unknown_name("control", name, self.text.controls)
        return self.text.controls[name]

    def silent(self, emitter: HiddenEmitter) -> list[int]:
        """The ids of units that the backbone's own head never writes: those of later codebooks, or all."""
        return [index for book in self.units.places[0 if emitter.mark else 1 :] for index in book]

    def spoken(self, emitter: HiddenEmitter | None) -> tuple[Marks, ...]:
        """The tokens that stand for units, as a grammar has to know them."""
        books = tuple(range(len(self.units.codebooks)))
        if emitter is None:
            return tuple(Marks(ids, (book,)) for book, ids in zip(books, self.units.ranges(), strict=True))
        if emitter.mark is None:
            return (Marks(self.units.ranges()[0], books, emitter.tail),)
        (index,) = self.control(emitter.mark)
        return (Marks(range(index, index + 1), books, emitter.tail),)

    def misread(self, batch: Rows, share: float, generator: torch.Generator | None) -> Rows:
        """`batch` with a share of the units and of the trained text replaced by others of their kind."""
        kinds = [*self.units.ranges(), range(self.text.size)]
        controls = {index for control in self.text.controls.values() for index in control}
        ids = [list(row) for row in batch.ids]
        spoken = {(r, p) for r, row in enumerate(ids) for p, index in enumerate(row) if index in self.units}
        places = sorted(spoken.union(batch.trained))
        drawn = torch.rand(len(places), 2, generator=generator).tolist()
        for (row, place), (chance, which) in zip(places, drawn, strict=True):
            told = ids[row][place]
            kind = next(kind for kind in kinds if told in kind)
            other = kind[int(which * len(kind))]
            alike = (told in self.units) == (other in self.units)
            if chance < share and alike and not controls & {told, other}:
                ids[row][place] = other
        return replace(batch, ids=ids, beside=self._misread_beside(batch, share, generator))

    def _misread_beside(
        self, batch: Rows, share: float, generator: torch.Generator | None
    ) -> dict[Place, tuple[int, ...]]:
        """The same share of the units that are read beside others, each replaced by one of its codebook."""
        changed = {}
        for place, ids in batch.beside.items():
            books = [next(book for book in self.units.ranges() if index in book) for index in ids]
            drawn = torch.rand(len(ids), 2, generator=generator).tolist()
            changed[place] = tuple(
                book[int(which * len(book))] if chance < share else index
                for index, book, (chance, which) in zip(ids, books, drawn, strict=True)
            )
        return changed

    def _place(self, segment: Segment, emitter: HiddenEmitter, rows: Rows, number: int, row: list[int]) -> None:
        """Lay a run of units out as its emitter does, at the end of `row`."""
        assert segment.units is not None
        self.units.ids(segment.units)  # refuses what is no unit
        for place in emitter.places(segment.units, segment.train):
            codes = [self.units.places[book][unit] for book, unit in place.codes]
            token, *beside = [*self.control(place.control), *codes] if place.control is not None else codes
            if segment.train and place.chosen:
                rows.trained.append((number, len(row)))
            if beside:
                rows.beside[number, len(row)] = tuple(beside)
            row.append(token)
