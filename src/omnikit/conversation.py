"""A conversation with a system: replies that are read and heard while they are written, and turns that are kept.

Letters: K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Unpack

import torch

from omnikit.nn.devices import move
from omnikit.reply import Question, Reply
from omnikit.slots.backbone import Memory, Segment
from omnikit.types import Audio, SpokenTurn, Units

if TYPE_CHECKING:
    from omnikit.system import System


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
        max_new_tokens: the longest reply; None: as the system's setting says.

    The backbone keeps keys and values of what it has read. A next turn begins with the earlier user turns as they were
    and the earlier replies as text; from the first position that differs on it reads anew: the last reply's text and
    the new question, not the pictures and speech before.
    """

    def __init__(
        self,
        system: System,
        *,
        temperature: float = 0.0,
        constrained: bool = True,
        max_new_tokens: int | None = None,
    ) -> None:
        self.system, self.temperature, self.constrained = system, temperature, constrained
        self.max_new_tokens = system.limit(max_new_tokens)
        self.turns: list[tuple[Sequence[Segment], SpokenTurn]] = []
        self.memory = Memory()

    def reply(self, *, seed: int = 0, **asked: Unpack[Question]) -> Reply:
        """The whole answer to the next turn. Raises as `System.reply` does."""
        (whole,) = [piece.reply for piece in self.stream(seed=seed, **asked) if piece.reply is not None]
        return whole

    @torch.no_grad()
    def stream(self, *, seed: int = 0, **asked: Unpack[Question]) -> Iterator[Piece]:
        """The answer to the next turn in pieces: words as they are complete, sound while units are still written.

        The style is decided when the voice starts, by what is written then. The turn is kept once the last piece is
        taken. Raises as `System.reply` does.
        """
        system = self.system
        wanted, user, clock = system.question(**asked)
        written = _Written(system, self._raw(user, seed))
        sounds: list[Audio] = []
        first_units = next(written, None)
        style, decided_by = system.decided(written.turn, wanted)
        yield from written.words()
        if first_units is not None and "detokenizer" in system.parts:
            voice = system.part("detokenizer")
            units = (move(piece, voice.device) for piece in chain([first_units], written))
            draws = torch.Generator().manual_seed(seed)
            for sound in voice.stream(units, move(style, voice.device), draws):
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
        audio = _joined(sounds) if sounds else None
        yield Piece(reply=Reply(replace(turn, style=style), audio, decided_by, clock.laps, self.memory.truncated))

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
            max_new_tokens=self.max_new_tokens,
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


def _joined(sounds: Sequence[Audio]) -> Audio:
    """Pieces of sound [1, S] one behind the other."""
    wave = torch.cat([piece.wave[:, : int(piece.lengths[0])] for piece in sounds], 1)  # [1, S]
    return Audio(wave, torch.tensor([wave.shape[1]], device=wave.device), sounds[0].sample_rate)
