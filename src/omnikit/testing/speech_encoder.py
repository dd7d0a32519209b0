"""Promises of the slot `speech_encoder`.

Letters: B batch, T steps, D width.
"""

from __future__ import annotations

from typing import Any

import torch

from omnikit.contracts import AudioPort, FramesPort
from omnikit.slots.speech_encoder import SpeechEncoder
from omnikit.testing.kit import NotApplicable, Subject, Suite, expect, expect_gradient, expect_same, first_of
from omnikit.testing.material import on, row, sounds
from omnikit.types import Audio

_SECONDS = (0.62, 0.3, 0.9)
_SLACK_FRAMES = 2
_ALIKE = 1e-4


def _audio(subject: Subject) -> Audio:
    rate = first_of(subject.contract.needs["audio"].sample_rate) or 16_000  # type: ignore[attr-defined]
    return sounds([round(item * rate) for item in _SECONDS], rate)


def _hears(subject: Subject) -> None:
    if "frames" not in subject.contract.gives:
        raise NotApplicable("it gives no features")


def outputs(subject: Subject, encoder: SpeechEncoder) -> Any:
    """Features of three recordings."""
    return encoder.encode(on(_audio(subject), encoder.device))


def gives_nothing_where_it_declares_nothing(subject: Subject) -> None:
    """Without a port `frames` it encodes to None, and with one to features."""
    found = outputs(subject, subject.component)
    declared = "frames" in subject.contract.gives
    expect((found is not None) == declared, f"it gives {type(found).__name__}, port frames declared: {declared}.")


@torch.no_grad()
def features_are_as_declared(subject: Subject) -> None:
    """Features [B, T, D] have the contract's width and rate, and last as long as the sound, give or take two steps."""
    _hears(subject)
    port, frames = dict(subject.contract.gives["frames"].facts()), outputs(subject, subject.component)
    expect(
        frames.features.shape[::2] == (3, port["dim"]), f"features {list(frames.features.shape)}, width {port['dim']}."
    )
    expect(frames.rate == port["rate"], f"rate {frames.rate}, the contract says {port['rate']}.")
    for length, seconds in zip(frames.lengths.tolist(), _SECONDS, strict=True):
        wanted = seconds * float(frames.rate)
        expect(abs(length - wanted) <= _SLACK_FRAMES, f"{seconds} s give {length} steps, {wanted:g} are declared.")


@torch.no_grad()
def steps_are_known_before(subject: Subject) -> None:
    """`num_steps` says how many steps a recording takes, without a tensor."""
    _hears(subject)
    audio, frames = _audio(subject), outputs(subject, subject.component)
    said = [subject.component.num_steps(length) for length in audio.lengths.tolist()]
    expect(said == frames.lengths.tolist(), f"num_steps says {said}, but {frames.lengths.tolist()} come out.")


@torch.no_grad()
def batch_equals_singles(subject: Subject) -> None:
    """A padded batch gives the features of its recordings alone."""
    _hears(subject)
    audio = _audio(subject)
    together = subject.component.encode(audio)
    for index, length in enumerate(audio.lengths.tolist()):
        alone = subject.component.encode(row(audio, index, length))
        cut = row(together, index, int(together.lengths[index]))
        expect_same(cut, alone, f"recording {index} differs in a batch", _ALIKE)


def gradient_reaches_its_weights(subject: Subject) -> None:
    """The features are differentiable down to every trainable part."""
    _hears(subject)
    encoder = subject.make()
    features = encoder.encode(_audio(subject)).features
    if not any(weight.requires_grad for weight in encoder.parameters()):
        raise NotApplicable("nothing in it is trainable")
    expect_gradient(encoder, (features * torch.linspace(-1, 1, features.numel()).view_as(features)).mean())


SUITE = Suite(
    base=SpeechEncoder,
    needs={"audio": AudioPort},
    gives={"frames": FramesPort},
    outputs=outputs,
    cases=(
        gives_nothing_where_it_declares_nothing,
        features_are_as_declared,
        steps_are_known_before,
        batch_equals_singles,
        gradient_reaches_its_weights,
    ),
)
