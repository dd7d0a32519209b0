"""A conversation with a system: replies that are read and heard while they are written, and turns that are kept.

Letters: K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from omnikit.reply import MAX_NEW_TOKENS, Clock, Reply
from omnikit.slots.backbone import Memory, Segment
from omnikit.types import Audio, Images, Labels, SpokenTurn, Style, StyleSource, Units

if TYPE_CHECKING:
    from omnikit.system import System

Given = str | Path | Audio | None
Shown = str | Path | Images | Sequence[str | Path] | None


@dataclass(frozen=True)
class Piece:
    """What is new of a reply: words of its text, sound, and with the last piece the whole `reply`."""

    text: str = ""
    audio: Audio | None = None
    reply: Reply | None = None


class Conversation:
    """Turns with one system. What was read and heard of earlier turns is not read again.

    Args:
        system: what answers.
        temperature: 0 writes the likeliest reply.
        constrained: write nothing but well-formed replies of the format.

    The backbone keeps keys and values of what it has read. A next turn begins with the earlier user turns as they were
    and the earlier replies as text; from the first position that differs on it reads anew: the last reply's text and
    the new question, not the pictures and speech before.
    """

    def __init__(self, system: System, *, temperature: float = 0.0, constrained: bool = True) -> None:
        self.system, self.temperature, self.constrained = system, temperature, constrained
        self.turns: list[tuple[Sequence[Segment], SpokenTurn]] = []
        self.memory = Memory()

    def reply(
        self,
        *,
        image: Shown = None,
        audio: Given = None,
        text: str | None = None,
        style: Labels | Style | None = None,
        reference: Given = None,
        seed: int = 0,
    ) -> Reply:
        """The whole answer to the next turn. Raises as `System.reply` does."""
        pieces = self.stream(image=image, audio=audio, text=text, style=style, reference=reference, seed=seed)
        (whole,) = [piece.reply for piece in pieces if piece.reply is not None]
        return whole

    @torch.no_grad()
    def stream(
        self,
        *,
        image: Shown = None,
        audio: Given = None,
        text: str | None = None,
        style: Labels | Style | None = None,
        reference: Given = None,
        seed: int = 0,
    ) -> Iterator[Piece]:
        """The answer to the next turn in pieces: words as they are complete, sound while units are still written.

        The turn is kept once the last piece is taken. Raises as `System.reply` does.
        """
        system = self.system
        wanted, user, clock = system.question(image=image, audio=audio, text=text, style=style, reference=reference)
        written = _Written(system, self._raw(user, seed))
        sounds: list[Audio] = []
        first_units = next(written, None)
        yield from written.words()
        if first_units is not None and "detokenizer" in system.parts:
            spoken_style, _ = system.decided(written.turn, wanted)
            draws = torch.Generator().manual_seed(seed)
            for sound in system.part("detokenizer").stream(_chain(first_units, written), spoken_style, draws):
                if not sounds:
                    clock.lap("first sound")
                sounds.append(sound)
                yield from written.words()
                yield Piece(audio=sound)
        for _ in written:  # without a voice, nobody has asked for the rest
            continue
        turn = system.part("format").parse("dialogue", written.raw, system.part("backbone"))
        yield from written.words(turn)
        clock.lap("reply")
        self.turns.append((user, turn))
        yield Piece(reply=_whole(system, turn, wanted, sounds, clock))

    @torch.no_grad()
    def prepare(self) -> None:
        """Read what stands before the next question (instructions, the last reply) now, e.g. while it is being asked.

        Answers stay the same; their first word and sound come earlier.
        """
        question = Segment(text="")
        prompt = self.system.part("format").prompt("dialogue", [question], self.turns)
        known = list(takewhile(lambda segment: segment is not question, prompt))
        if 0 < len(known) < len(prompt):
            draws = torch.Generator()
            list(self.system.part("backbone").stream(known, generator=draws, max_new_tokens=1, memory=self.memory))

    def _raw(self, user: Sequence[Segment], seed: int) -> Iterator[str]:
        backbone, form = self.system.part("backbone"), self.system.part("format")
        grammar = form.grammar("dialogue", backbone, self.system.style_values()) if self.constrained else None
        return self.system.emitter.stream(
            backbone,
            form.prompt("dialogue", user, self.turns),
            generator=torch.Generator().manual_seed(seed),
            max_new_tokens=MAX_NEW_TOKENS,
            temperature=self.temperature,
            grammar=grammar,
            memory=self.memory,
        )


class _Written:
    """A reply while it is written: iterating gives new units; `words` what is new of its text; `turn` what it says."""

    def __init__(self, system: System, pieces: Iterator[str]) -> None:
        self._backbone, self._format, self._pieces = system.part("backbone"), system.part("format"), pieces
        self.raw, self.turn = "", SpokenTurn(text="")
        self._num_units = 0
        self._text = ""

    def __iter__(self) -> Iterator[Units]:
        return self

    def __next__(self) -> Units:
        """Units [1, K, T] that were not there before."""
        for piece in self._pieces:
            self.raw += piece
            self.turn = self._format.parse("dialogue", self.raw, self._backbone)
            units = self.turn.units
            if units is not None and int(units.lengths[0]) > self._num_units:
                new = units.codes[:, :, self._num_units : int(units.lengths[0])]  # [1, K, T]
                self._num_units = int(units.lengths[0])
                return replace(units, codes=new, lengths=torch.tensor([new.shape[-1]]))
        raise StopIteration

    def words(self, turn: SpokenTurn | None = None) -> Iterator[Piece]:
        """What the text has grown by."""
        text = (turn or self.turn).text
        if len(text) > len(self._text) and text.startswith(self._text):
            yield Piece(text=text[len(self._text) :])
            self._text = text


def _chain(first: Units, rest: Iterator[Units]) -> Iterator[Units]:
    yield first
    yield from rest


def _whole(system: System, turn: SpokenTurn, wanted: Labels | Style, sounds: Sequence[Audio], clock: Clock) -> Reply:
    """The finished reply with its pieces of sound joined."""
    style: Style
    decided: Mapping[str, StyleSource]
    style, decided = system.decided(turn, wanted)
    audio = None
    if sounds:
        wave = torch.cat([piece.wave[:, : int(piece.lengths[0])] for piece in sounds], 1)  # [1, S]
        audio = Audio(wave, torch.tensor([wave.shape[1]]), sounds[0].sample_rate)
    return Reply(replace(turn, style=style), audio, decided, clock.laps)
