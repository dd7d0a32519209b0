"""What follows when a token is chosen: what is told of it, what is read next, and what may come then.

Letters: B batch, W width, V vocabulary, M positions of typed text.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from omnikit.backbones.constrained import Automaton
from omnikit.backbones.rows import RowLayout, Rows
from omnikit.slots.emitter import Hand, HiddenEmitter, Stroke, Token

Table = Callable[[Tensor], Tensor]


class Pen:
    """Tokens as they are chosen, units among them.

    Args: `table` gives the embedding of ids, `automaton` leaves only tokens from which a reply can still end in time.
    """

    def __init__(self, table: Table, automaton: Automaton | None, num_rows: int) -> None:
        self.table, self.automaton = table, automaton
        self.states = [0] * num_rows

    @property
    def reach(self) -> int:
        """How many of the prompt's last positions it has to see read."""
        return 0

    def start(self, hidden: Tensor) -> None:
        """Take the hidden states [B, L, W] of the prompts, padded on the left, as far as they were read."""

    def allowed(self, left: int) -> Tensor | None:
        """Tokens [B, V] that may come next when `left` may still be written; None where all may."""
        return None if self.automaton is None else self.automaton.allowed(self.states, left)

    def put(self, hidden: Tensor, chosen: Tensor) -> tuple[list[list[int]], Tensor]:
        """What is told of each row's token [B], written from `hidden` [B, W]; the embeddings [B, W] to be read."""
        ids = chosen.tolist()
        if self.automaton is not None:
            self.states = [self.automaton.after(*pair) for pair in zip(self.states, ids, strict=True)]
        return [[index] for index in ids], self.table(chosen)


class EmitterPen(Pen):
    """Tokens of a backbone whose units an emitter writes: whole steps are told, as if every unit were a token."""

    def __init__(
        self,
        table: Table,
        automaton: Automaton | None,
        prompts: Rows,
        layout: RowLayout,
        emitter: HiddenEmitter,
        hand: Hand,
    ) -> None:
        super().__init__(table, automaton, len(prompts.ids))
        self.emitter, self.hand, self.places = emitter, hand, layout.units.places
        pairs = zip(prompts.ids, prompts.typed, strict=True)
        self.typed = [[len(ids) - position for position in typed] for ids, typed in pairs]  # counted from the end
        self.controls = {ids[0]: name for name, ids in layout.text.controls.items() if len(ids) == 1}
        self.unit_of = {index: unit for unit, index in enumerate(self.places[0])}
        self.free = torch.ones(layout.size, dtype=torch.bool)  # [V] what the backbone's own head may ever write
        self.free[layout.silent(emitter)] = False
        self.is_unit = torch.zeros(layout.size, dtype=torch.bool)  # [V]
        self.is_unit[self.places[0]] = True
        self.over = None if emitter.over is None else layout.control(emitter.over)[0]

    @property
    def reach(self) -> int:
        return max(map(max, filter(None, self.typed)), default=0) if self.emitter.reads_typed else 0

    def start(self, hidden: Tensor) -> None:
        if self.emitter.reads_typed:
            self.hand.read([hidden[row, [-back for back in typed]] for row, typed in enumerate(self.typed)])

    def allowed(self, left: int) -> Tensor:
        rows = super().allowed(left)
        allowed = self.free.expand(len(self.states), -1).clone() if rows is None else rows & self.free  # [B, V]
        for row, want in enumerate(self.hand.wants() or ()):
            if want == "any":
                continue
            assert self.over is not None, "only runs that end with a control want anything"
            allowed[row] &= self.is_unit if want == "run" else False
            allowed[row, self.over] = want == "tail" or self._may_end(row, left)
        return allowed

    def put(self, hidden: Tensor, chosen: Tensor) -> tuple[list[list[int]], Tensor]:
        ids = chosen.tolist()
        tokens = [self._token(index) for index in ids]
        strokes = self.hand.write(hidden, tokens)
        told = [self._told(*row) for row in zip(range(len(ids)), ids, tokens, strokes, strict=True)]
        embeds = self.table(chosen)  # [B, W]
        beside = [(row, self.places[book][unit]) for row, stroke in enumerate(strokes) for book, unit in stroke.beside]
        if beside:
            at, codes = (torch.tensor(each, device=embeds.device) for each in zip(*beside, strict=True))
            embeds = embeds.index_add(0, at, self.table(codes).to(embeds))
        return told, embeds

    def _token(self, index: int) -> Token:
        if index in self.unit_of:
            return Token(unit=self.unit_of[index])
        return Token(control=self.controls.get(index))

    def _told(self, row: int, index: int, token: Token, stroke: Stroke) -> list[int]:
        """The ids that a row's token stands for; the grammar follows it, and cuts a run that it has no room for."""
        if token.unit is None and (
            token.control is None or token.control not in (self.emitter.mark, self.emitter.over)
        ):
            if self.automaton is not None:
                self.states[row] = self.automaton.after(self.states[row], index)
            return [index]
        steps = stroke.steps
        if self.automaton is not None:
            for number in range(stroke.begun):
                after = self.automaton.after_step(self.states[row], len(self.places))
                if after is None:
                    steps = steps[:number]
                    break
                self.states[row] = after
        return [self.places[book][unit] for step in steps for book, unit in enumerate(step)]

    def _may_end(self, row: int, left: int) -> bool:
        """Whether a run may end now: something else may follow it, and there is room for it behind the last places."""
        return self.automaton is None or self.automaton.leaving(self.states[row]) + self.emitter.tail <= left
