"""The slot `watermark`: its class, its ports, and the promises that every component of it keeps.

Letters: B batch, S samples.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from omnikit import Audio, AudioPort
from omnikit.slots.base import Component
from omnikit.testing import Subject, Suite
from omnikit.testing.kit import expect, expect_same, refused
from omnikit.testing.material import row, sounds


class Watermark(Component):
    """A mark in sound. Its contract needs port `audio` and gives port `audio`, at one rate."""

    @abstractmethod
    def mark(self, audio: Audio) -> Audio:
        """The same sound [B, S] with the mark in it; padding stays as it is."""

    @abstractmethod
    def scores(self, audio: Audio) -> Tensor:
        """How surely each row carries the mark [B]: above 0 it does."""


def _audio(subject: Subject) -> Audio:
    port: Any = subject.contract.needs["audio"]
    return sounds((24_000, 16_000), port.sample_rate)


def outputs(subject: Subject, component: Any) -> Any:
    """Marked sound, and what the mark is worth in it."""
    marked = component.mark(_audio(subject))
    return marked, component.scores(marked)


def finds_its_mark_and_no_other(subject: Subject) -> None:
    """Marked sound scores above 0, the same sound without the mark below."""
    audio = _audio(subject)
    marked, plain = subject.component.scores(subject.component.mark(audio)), subject.component.scores(audio)
    expect(bool((marked > 0).all()), f"marked sound scores {marked.tolist()}; it must be found.")
    expect(bool((plain < 0).all()), f"sound without a mark scores {plain.tolist()}; it must not be found.")


def batch_equals_singles(subject: Subject) -> None:
    """A row is marked in a batch as alone, and its padding stays silent."""
    audio = _audio(subject)
    marked = subject.component.mark(audio)
    for index, length in enumerate(audio.lengths.tolist()):
        alone = subject.component.mark(row(audio, index, length))
        expect_same(row(marked, index, length), alone, f"row {index} differs in a batch")
        expect(not bool(marked.wave[index, length:].any()), f"the padding of row {index} is marked.")


def refuses_another_rate(subject: Subject) -> None:
    """Sound at another rate is refused with a clear error."""
    audio = _audio(subject)
    with refused("sound at another rate"):
        subject.component.mark(Audio(audio.wave, audio.lengths, audio.sample_rate + 1))
    expect(torch.is_tensor(audio.wave), "sound must stay a tensor.")


SUITE = Suite(
    base=Watermark,
    needs={"audio": AudioPort},
    gives={"audio": AudioPort},
    outputs=outputs,
    cases=(finds_its_mark_and_no_other, batch_equals_singles, refuses_another_rate),
)
