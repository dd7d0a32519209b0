"""What a backbone reads of a recording: units or features of it, and before them the tone in which it is said.

Letters: B batch, T steps, W backbone width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from omnikit.nn.devices import move
from omnikit.slots.backbone import Segment
from omnikit.slots.base import Component
from omnikit.slots.input_style import InputStyle
from omnikit.slots.projector import Projector
from omnikit.slots.speech_encoder import SpeechEncoder
from omnikit.types import Audio

Ids = tuple[tuple[int, ...], ...]


class Hearing:
    """The parts of a system that hear beside its tokenizer; each may be missing, or be `none`."""

    def __init__(
        self,
        speech_encoder: SpeechEncoder | None = None,
        speech_projector: Projector | None = None,
        input_style: InputStyle | None = None,
    ) -> None:
        self.speech_encoder = speech_encoder if _gives(speech_encoder, "frames") else None
        self.speech_projector = speech_projector if self.speech_encoder is not None else None
        self.input_style = input_style if input_style is not None and input_style.blank() is not None else None

    @property
    def reads_units(self) -> bool:
        """Whether the user's speech is read as units; features take their place."""
        return self.speech_encoder is None

    @property
    def sample_rate(self) -> int | None:
        """The rate in Hz that these parts hear at, the highest of them; None where units say everything."""
        parts = [part for part in (self.speech_encoder, self.input_style) if part is not None]
        return max((_rate(part) for part in parts), default=None)

    def read(self, audio_at: Callable[[int], Audio], units: Sequence[Ids] | None = None) -> list[tuple[Segment, ...]]:
        """The segments of each recording of a batch: tone, then features, or `units` where there is no speech encoder.

        `audio_at` gives the batch at a rate in Hz, on any device; it is not called where units say everything.
        """
        rows: list[tuple[Segment, ...]] = []
        if self.speech_encoder is not None:
            rows = [(Segment(frames=frames, heard=True),) for frames in self._features(audio_at)]
        elif units is not None:
            rows = [(Segment(units=row),) for row in units]
        if self.input_style is None:
            return rows
        tones = self.input_style.read(_heard(audio_at, self.input_style))
        before: list[tuple[Segment, ...]] = [() if tone is None else (tone,) for tone in tones]
        return [(*tone, *row) for tone, row in zip(before, rows, strict=True)] if rows else before

    def blank(self, seconds: float, width: int) -> tuple[Segment, ...]:
        """What `read` gives without units for a recording of this length: as many positions, without hearing it."""
        tone = None if self.input_style is None else self.input_style.blank()
        found = () if tone is None else (tone,)
        if self.speech_encoder is None:
            return found
        steps = self.speech_encoder.num_steps(round(seconds * _rate(self.speech_encoder)))
        steps = steps if self.speech_projector is None else self.speech_projector.num_positions(steps)
        return (*found, Segment(frames=torch.zeros(1, width).expand(steps, -1), heard=True))

    def _features(self, audio_at: Callable[[int], Audio]) -> list[torch.Tensor]:
        assert self.speech_encoder is not None
        frames = self.speech_encoder.encode(_heard(audio_at, self.speech_encoder))
        assert frames is not None, "a speech encoder with a port `frames` gives features"
        if self.speech_projector is not None:
            frames = self.speech_projector.project(move(frames, self.speech_projector.device))  # [B, T, W]
        rows = zip(frames.features, frames.lengths.tolist(), strict=True)
        return [row[:length] for row, length in rows]


def _gives(part: Any, port: str) -> bool:
    return part is not None and port in part.contract(**part.parameters_given).gives


def _heard(audio_at: Callable[[int], Audio], part: Component) -> Audio:
    """The batch as `part` takes it: at its rate, on its device."""
    return move(audio_at(_rate(part)), part.device)


def _rate(part: Component) -> int:
    contract: Any = part.contract(**part.parameters_given)
    return int(contract.needs["audio"].sample_rate)
