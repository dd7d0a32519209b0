"""Promises of the slot `input_style`.

Letters: B batch, P positions, W backbone width.
"""

from __future__ import annotations

from typing import Any

import torch

from omnikit.contracts import AudioPort, FramesPort
from omnikit.slots.backbone import Segment
from omnikit.slots.input_style import InputStyle, LearnedInputStyle
from omnikit.testing.kit import NotApplicable, Subject, Suite, expect, expect_gradient, expect_same, first_of
from omnikit.testing.material import on, row, sounds
from omnikit.types import Audio

_SECONDS = (0.62, 0.004, 0.9)
_ALIKE = 1e-5


def _audio(subject: Subject) -> Audio:
    rate = first_of(subject.contract.needs["audio"].sample_rate) or 16_000  # type: ignore[attr-defined]
    return sounds([round(item * rate) for item in _SECONDS], rate)


def _read(subject: Subject) -> list[Segment | None]:
    return subject.component.read(_audio(subject))


def outputs(subject: Subject, style: InputStyle) -> Any:
    """What is read before three recordings."""
    return style.read(on(_audio(subject), style.device))


@torch.no_grad()
def reads_as_declared(subject: Subject) -> None:
    """One entry a recording: features of the declared width and positions, or text where `embeds` does not apply."""
    found = _read(subject)
    expect(len(found) == len(_SECONDS), f"{len(found)} entries for {len(_SECONDS)} recordings.")
    port: Any = subject.contract.gives.get("embeds")
    for segment in found:
        if port is not None:
            frames = None if segment is None else segment.frames
            expect(frames is not None, "it declares the port `embeds` and gives no features.")
            assert frames is not None
            wanted = [port.length if port.length is not None else frames.shape[0], first_of(port.dim)]
            expect(list(frames.shape) == wanted, f"features {list(frames.shape)}, {wanted} are declared.")
        elif "embeds" in subject.contract.ignores:
            expect(segment is not None and bool(segment.text), "it ignores the port `embeds` and gives no text.")
        else:
            expect(segment is None, "it declares nothing and gives something.")


@torch.no_grad()
def is_marked_as_heard(subject: Subject) -> None:
    """What it gives, and its stand-in, is marked as heard and is only read."""
    for segment in (*_read(subject), subject.component.blank()):
        if segment is not None:
            expect(segment.heard and not segment.train, f"heard={segment.heard}, train={segment.train}.")


@torch.no_grad()
def stand_in_is_of_its_kind(subject: Subject) -> None:
    """`blank` is of the kind that `read` gives, and takes as much room, without hearing anything."""
    blank, found = subject.component.blank(), _read(subject)
    for segment in found:
        expect((segment is None) == (blank is None), "`blank` and `read` do not agree whether there is anything.")
        if segment is None or blank is None:
            continue
        if segment.frames is not None:
            shape = None if blank.frames is None else list(blank.frames.shape)
            expect(
                shape == list(segment.frames.shape), f"the stand-in is {shape}, features {list(segment.frames.shape)}."
            )
        else:
            text = blank.text or ""
            expect(len(text) >= len(segment.text or ""), f"'{text}' is shorter than '{segment.text}'.")


@torch.no_grad()
def says_every_text(subject: Subject) -> None:
    """`texts` holds every text that it gives, made of its factors' values; one without text has none."""
    texts = subject.component.texts()
    given = [segment.text for segment in _read(subject) if segment is not None and segment.text is not None]
    expect(all(text in texts for text in given), f"{given} are not all among the {len(texts)} texts that it names.")
    expect(bool(given) == bool(texts), "it names texts and gives none.")
    for text in texts:
        named = all(any(value in text for value in values) for values in subject.component.factors.values())
        expect(named, f"'{text}' does not name a value of every factor.")


@torch.no_grad()
def batch_equals_singles(subject: Subject) -> None:
    """A padded batch gives what its recordings give alone, the shortest too."""
    audio, together = _audio(subject), _read(subject)
    for index, length in enumerate(audio.lengths.tolist()):
        (alone,) = subject.component.read(row(audio, index, length))
        expect_same(together[index], alone, f"recording {index} differs in a batch", _ALIKE)


def gradient_reaches_its_weights(subject: Subject) -> None:
    """What learns with the backbone passes a gradient to all its weights; what has a stage of its own, by its loss."""
    style = subject.make()
    if isinstance(style, LearnedInputStyle):
        labels = [{factor: values[n % len(values)] for factor, values in style.factors.items()} for n in range(3)]
        losses = style.loss(_audio(subject), labels)
        expect(
            set(losses.parts) == set(style.factors), f"parts {sorted(losses.parts)}, factors {sorted(style.factors)}."
        )
        return expect_gradient(style, losses.total)
    frames = [segment.frames for segment in style.read(_audio(subject)) if segment is not None]
    if not frames or any(item is None for item in frames):
        raise NotApplicable("it has nothing to learn")
    joined = torch.cat([item for item in frames if item is not None])
    return expect_gradient(style, (joined * torch.linspace(-1, 1, joined.numel()).view_as(joined)).mean())


SUITE = Suite(
    base=InputStyle,
    needs={"audio": AudioPort},
    gives={"embeds": FramesPort},
    outputs=outputs,
    cases=(
        reads_as_declared,
        is_marked_as_heard,
        stand_in_is_of_its_kind,
        says_every_text,
        batch_equals_singles,
        gradient_reaches_its_weights,
    ),
)
