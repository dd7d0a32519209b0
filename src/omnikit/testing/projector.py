"""Promises of the slot `projector`.

Letters: B batch, N positions in, M positions out, D width.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from omnikit.contracts import FramesPort
from omnikit.errors import OmnikitError
from omnikit.slots.projector import Projector
from omnikit.testing.kit import Subject, Suite, expect, expect_gradient, expect_same, first_of, refused
from omnikit.testing.material import features, on, row
from omnikit.types import Frames

_POSITIONS = 16
_ALIKE = 1e-5


def _frames(subject: Subject, number: int = 3, rate: Fraction | None = None) -> Frames:
    port: Any = subject.contract.needs["frames"]
    return features(first_of(port.dim), [first_of(port.length) or _POSITIONS] * number, rate)


def outputs(subject: Subject, projector: Projector) -> Any:
    """Projected features of three rows."""
    return projector.project(on(_frames(subject), projector.device))


@torch.no_grad()
def embeds_are_as_declared(subject: Subject) -> None:
    """Embeds are [B, M, D] of the contract's width, with lengths that count their positions."""
    port, embeds = dict(subject.contract.gives["embeds"].facts()), subject.component.project(_frames(subject))
    shape = list(embeds.features.shape)
    expect(
        len(shape) == 3 and shape[0] == 3 and shape[2] == port["dim"], f"embeds {shape}, declared width {port['dim']}."
    )
    expect(port["length"] in (None, shape[1]), f"{shape[1]} positions, the contract says {port['length']}.")
    expect(
        embeds.lengths.tolist() == [shape[1]] * 3,
        f"lengths {embeds.lengths.tolist()} of {shape[1]} positions; count those that come out.",
    )


@torch.no_grad()
def batch_equals_singles(subject: Subject) -> None:
    """A batch gives what its rows give alone."""
    frames = _frames(subject)
    together = subject.component.project(frames)
    for index in range(3):
        alone = subject.component.project(row(frames, index))
        expect_same(
            row(together, index), alone, f"row {index} differs in a batch; compute it from itself alone", _ALIKE
        )


@torch.no_grad()
def positions_are_known_before(subject: Subject) -> None:
    """`num_positions` says how many positions leave for those that come in, without a tensor."""
    frames = _frames(subject)
    said = subject.component.num_positions(int(frames.lengths[0]))
    found = subject.component.project(frames).lengths.tolist()
    expect(found == [said] * 3, f"num_positions says {said}, but {found} come out.")


@torch.no_grad()
def keeps_the_clock(subject: Subject) -> None:
    """Features without a rate get none; with one they keep their duration (positions over rate), or are refused."""
    expect(subject.component.project(_frames(subject)).rate is None, "features without a clock get a rate.")
    frames = _frames(subject, rate=Fraction(50))
    try:
        embeds = subject.component.project(frames)
    except OmnikitError:
        return
    expect(embeds.rate is not None, "the rate is lost.")
    before, after = frames.lengths[0] / float(frames.rate or 1), embeds.lengths[0] / float(embeds.rate)
    expect(
        abs(float(before - after)) <= 1 / float(embeds.rate),
        f"{before:g} s of features become {after:g} s; change the rate as the positions.",
    )


def refuses_another_width(subject: Subject) -> None:
    """Features of another width are refused with a clear error."""
    frames = _frames(subject)
    with refused("features one number narrower"):
        subject.component.project(Frames(frames.features[..., :-1], frames.lengths))


def gradient_reaches_its_weights(subject: Subject) -> None:
    """The gradient reaches every trainable part and the features."""
    projector, frames = subject.make(), _frames(subject)
    frames.features.requires_grad_()
    embeds = projector.project(frames).features
    expect_gradient(projector, (embeds * torch.linspace(-1, 1, embeds.numel()).view_as(embeds)).mean())
    expect(
        frames.features.grad is not None and bool(frames.features.grad.any()), "no gradient comes back to the features."
    )


SUITE = Suite(
    base=Projector,
    needs={"frames": FramesPort},
    gives={"embeds": FramesPort},
    outputs=outputs,
    cases=(
        embeds_are_as_declared,
        batch_equals_singles,
        positions_are_known_before,
        keeps_the_clock,
        refuses_another_width,
        gradient_reaches_its_weights,
    ),
)
