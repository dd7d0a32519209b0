"""`emitter/delay`: the codebooks of a step in parallel, each a position later than the one before it.

Letters: B batch, W backbone width, K codebooks, T steps, N places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omnikit.contracts import DERIVED, Contract, FramesPort, Free, UnitsPort
from omnikit.emitters.checks import warn_of_one_codebook
from omnikit.slots.backbone import Backbone
from omnikit.slots.emitter import Choose, Code, Hand, HiddenEmitter, Ids, Place, Run, Stroke, Token, Want

OVER = "/speech"


class Delay(HiddenEmitter):
    """K codes a position: codebook k of a step stands k positions later than its first, so it knows those before it.

    Args:
        codebooks, unit_rate: the tokenizer's units, derived in a system.

    A position is read as the sum of its codes' embeddings and written by K parts of the output layer, which are the
    rows that the vocabulary already has for each codebook: there is nothing else to learn. The first codebook shares
    its softmax with text, so one choice says whether speech goes on; when it is over, the mark `/speech` stands in its
    place while the other codebooks catch up. T steps take T + K - 1 positions.

    Contract: hidden states and units of any codebooks → units, the last codebook K - 1 steps behind the first.
    Ref: Copet et al. 2023 (MusicGen, arXiv 2306.05284), section 2.2, pattern "delay".

    >>> [place.codes for place in Delay(codebooks=[8, 8], unit_rate=25).places(((1, 2), (3, 4)), True)]
    [((0, 1),), ((0, 2), (1, 3)), ((1, 4),)]
    """

    over = OVER

    def __init__(self, codebooks: Sequence[int] = DERIVED, unit_rate: Any = DERIVED) -> None:
        super().__init__()
        self.codebooks = tuple(int(size) for size in codebooks)
        self.tail = len(self.codebooks) - 1
        warn_of_one_codebook("delay", self.codebooks)

    @classmethod
    def contract(cls, codebooks: Any, unit_rate: Any) -> Contract:
        known = not isinstance(codebooks, Free) and not isinstance(unit_rate, Free)
        units = UnitsPort(codebooks=codebooks, rate=unit_rate)
        return Contract(
            needs={"hidden": FramesPort(), "units": units},
            gives={"units": units},
            causal=True,
            lookahead_ms=float(1000 * (len(codebooks) - 1) / Fraction(unit_rate)) if known else None,
        )

    def places(self, units: Ids, written: bool) -> list[Place]:
        """T + K - 1 places, in the first and last of which some codebooks have no code."""
        num_steps = len(units[0])
        found = []
        for place in range(num_steps + self.tail if num_steps else 0):
            codes = self.codes_at(place, num_steps)
            beside = tuple((book, units[book][step]) for book, step in codes)
            is_over = place >= num_steps
            found.append(Place(beside, OVER if is_over else None, chosen=place <= num_steps))
        return found

    def codes_at(self, place: int, num_steps: int) -> list[tuple[int, int]]:
        """The (codebook, step) pairs of a place in a run of `num_steps` steps."""
        return [(book, place - book) for book in range(len(self.codebooks)) if 0 <= place - book < num_steps]

    def losses(self, backbone: Backbone, runs: Sequence[Run]) -> list[Tensor]:
        """Cross-entropies of all codes behind the first codebook, [(K - 1) T] of each run; nothing counts padding."""
        lengths = [run.units.shape[1] for run in runs]
        found: list[list[Tensor]] = [[] for _ in runs]
        for book in range(1, len(self.codebooks)):
            before = torch.cat([run.before[book : book + length] for run, length in zip(runs, lengths, strict=True)])
            logits = backbone.unit_logits(book, before).float()
            each = F.cross_entropy(logits, torch.cat([run.units[book] for run in runs]), reduction="none")
            for own, part in zip(found, each.split(lengths), strict=True):
                own.append(part)
        return [torch.cat([run.before.new_zeros(0).float(), *own]) for run, own in zip(runs, found, strict=True)]

    def num_unseen(self, num_steps: int) -> int:
        """Every code but those of the first codebook."""
        return self.tail * num_steps

    def hand(self, backbone: Backbone, num_rows: int, choose: Choose) -> Hand:
        """Begin to write a batch."""
        return _DelayHand(self, backbone, num_rows, choose)


@dataclass
class _Open:
    """A run that is being written: its codes so far, codebook by codebook, the next place, and whether it is over."""

    codes: list[list[int]]
    place: int = 0
    is_over: bool = False
    new: list[Code] = field(default_factory=list)


class _DelayHand(Hand):
    """Delayed codes of a batch; rows are at different places of their runs, or in none."""

    def __init__(self, emitter: Delay, backbone: Backbone, num_rows: int, choose: Choose) -> None:
        self.emitter, self.backbone, self.choose = emitter, backbone, choose
        self.runs: list[_Open | None] = [None] * num_rows

    def wants(self) -> list[Want]:
        return ["any" if run is None else "tail" if run.is_over else "run" for run in self.runs]

    def write(self, hidden: Tensor, tokens: Sequence[Token]) -> list[Stroke]:
        num_books = len(self.emitter.codebooks)
        for row, token in enumerate(tokens):
            if token.unit is not None:
                run = self.runs[row] = self.runs[row] or _Open([[] for _ in range(num_books)])
                run.codes[0].append(token.unit)
            elif (run := self.runs[row]) is not None:
                run.is_over = True
        self._choose(hidden)
        return [self._stroke(row, token) for row, token in enumerate(tokens)]

    def _choose(self, hidden: Tensor) -> None:
        """Find the codes of all rows behind their first codebook, a codebook at a time."""
        for book in range(1, len(self.emitter.codebooks)):
            rows = [
                row
                for row, run in enumerate(self.runs)
                if run is not None and 0 <= run.place - book < len(run.codes[0])
            ]
            if rows:
                found = self.choose(self.backbone.unit_logits(book, hidden[rows]).float()).tolist()
                for row, unit in zip(rows, found, strict=True):
                    run = self.runs[row]
                    assert run is not None
                    run.codes[book].append(unit)
                    run.new.append((book, unit))

    def _stroke(self, row: int, token: Token) -> Stroke:
        run = self.runs[row]
        if run is None:
            return Stroke()
        beside, run.new = tuple(run.new), []
        step = run.place - self.emitter.tail
        whole = (tuple(book[step] for book in run.codes),) if step >= 0 else ()
        run.place += 1
        if run.place == len(run.codes[0]) + self.emitter.tail and (run.is_over or not self.emitter.tail):
            self.runs[row] = None
        return Stroke(beside, begun=int(token.unit is not None), steps=whole)
