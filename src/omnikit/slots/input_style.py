"""The slot `input_style`: how the user speaks, which units drop, for the backbone to read before the words.

Letters: B batch, S samples, P positions, W backbone width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from omnikit.slots.backbone import Segment
from omnikit.slots.base import Component
from omnikit.types import Audio, Losses


class InputStyle(Component):
    """A way to tell the user's tone. Its contract needs port `audio`; what it gives stands right before the recording.

    One that is read as features gives port `embeds` (of the backbone's width) and learns with the backbone; one that is
    read as text ignores that port; `input_style/none` gives nothing.
    """

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """The factors that it names, with their values; empty for one that names none."""
        return {}

    @abstractmethod
    def read(self, audio: Audio) -> list[Segment | None]:
        """What is read before each recording of [B, S]: features [P, W] or text, marked `heard`; None for nothing."""

    @abstractmethod
    def blank(self) -> Segment | None:
        """A stand-in for what `read` gives, at least as long, made without hearing anything."""

    def texts(self) -> Sequence[str]:
        """Every text that `read` can give: what a text vocabulary should fit."""
        return ()


class LearnedInputStyle(InputStyle):
    """An input style that stage `input_style` trains on recordings whose style is known."""

    @abstractmethod
    def loss(self, audio: Audio, labels: Sequence[Mapping[str, str]]) -> Losses:
        """The objective on recordings [B, S] with the labels of each; parts `<factor>` are shares that it names right.

        Labels of other factors, and values that it does not know, are left out.
        """
