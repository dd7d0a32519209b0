"""Promises of the slot `vision_encoder`.

Letters: B batch, N patches, D width.
"""

from __future__ import annotations

from typing import Any

import torch

from omnikit.contracts import FramesPort, ImagePort
from omnikit.nn.picture_sizes import NativeSize
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.testing.kit import (
    NotApplicable,
    Subject,
    Suite,
    expect,
    expect_gradient,
    expect_same,
    first_of,
    refused,
)
from omnikit.testing.material import on, pictures, pictures_of_own_sizes, row
from omnikit.types import Images

_ALIKE = 1e-4


def _images(subject: Subject, number: int = 3) -> Images:
    return pictures(first_of(subject.contract.needs["image"].size), number)  # type: ignore[attr-defined]


def outputs(subject: Subject, encoder: VisionEncoder) -> Any:
    """Features of three pictures, after two blocks too."""
    images = on(_images(subject), encoder.device)
    return encoder.encode(images), encoder.intermediates(images, [0, -1])


@torch.no_grad()
def features_are_as_declared(subject: Subject) -> None:
    """Features are [B, N, D] with the contract's width and number of patches, all of them valid, without a clock."""
    port, frames = dict(subject.contract.gives["frames"].facts()), subject.component.encode(_images(subject))
    shape = [3, port["length"], port["dim"]]
    found = list(frames.features.shape)
    expect(len(found) == 3, f"features have shape {found}, not [B, N, D].")
    for size, said in zip(found, shape, strict=True):
        expect(said is None or size == said, f"features have shape {found}, the contract says {shape}.")
    expect(frames.lengths.tolist() == [found[1]] * 3, f"lengths {frames.lengths.tolist()} of {found[1]} patches.")
    expect(frames.rate is None and port["rate"] is None, "patches have no rate.")


@torch.no_grad()
def batch_equals_singles(subject: Subject) -> None:
    """A batch gives the features of its pictures alone."""
    images = _images(subject)
    together = subject.component.encode(images).features
    for index in range(len(together)):
        alone = subject.component.encode(row(images, index)).features
        expect_same(together[index : index + 1], alone, f"picture {index} differs in a batch", _ALIKE)


@torch.no_grad()
def pictures_differ(subject: Subject) -> None:
    """Two pictures have different features, and so has a picture whose last corner was painted over."""
    images = _images(subject)
    painted = Images(images.pixels.clone())
    painted.pixels[..., -4:, -4:] = 1.0
    one, other = subject.component.encode(images).features, subject.component.encode(painted).features
    expect(not torch.allclose(one[0], one[1]), "two pictures have the same features.")
    expect(not torch.allclose(one, other), "the last corner of a picture is not seen.")


@torch.no_grad()
def positions_are_known_before(subject: Subject) -> None:
    """`num_positions` of a picture's height and width is how many come out, without a tensor."""
    images = _images(subject)
    height, width = images.pixels.shape[-2:]
    said, found = subject.component.num_positions(height, width), subject.component.encode(images).lengths.tolist()
    expect(found == [said] * 3, f"num_positions({height}, {width}) is {said}, but {found} come out.")


@torch.no_grad()
def pictures_keep_their_sizes(subject: Subject) -> None:
    """Where the port takes pictures of any size, several sizes share a call; each gives what it gives alone."""
    size: Any = first_of(subject.contract.needs["image"].size)  # type: ignore[attr-defined]
    if not isinstance(size, NativeSize):
        raise NotApplicable("pictures of one size alone are taken")
    encoder, images = subject.component, pictures_of_own_sizes(size)
    frames, inner = encoder.encode(images), encoder.intermediates(images, [0])[0]
    for index, picture in enumerate(images.each()):
        alone, inside = encoder.encode(Images.of([picture])), encoder.intermediates(Images.of([picture]), [0])[0]
        length = encoder.num_positions(*picture.shape[1:])
        found = [int(frames.lengths[index]), int(alone.lengths[0])]
        expect(found == [length] * 2, f"{found[0]} positions, {found[1]} alone, {length} by num_positions.")
        expect_same(frames.features[index, :length], alone.features[0], f"picture {index} differs in a batch", _ALIKE)
        depth = int(inside.lengths[0])
        expect_same(
            inner.features[index, :depth], inside.features[0], f"picture {index} differs inside a batch", _ALIKE
        )
        expect(not frames.features[index, length:].any(), "padding is not zero.")


@torch.no_grad()
def intermediates_come_as_asked(subject: Subject) -> None:
    """Intermediates [B, N, D] come in the order asked for; negative numbers count from the end, others are refused."""
    encoder, images = subject.component, _images(subject)
    last, first, again = encoder.intermediates(images, [-1, 0, -1])
    expect_same(last, again, "the same block asked for twice gives something else")
    for block, found in ((0, first), (-1, last)):
        (alone,) = encoder.intermediates(images, [block])
        expect_same(found, alone, f"block {block} gives something else when it is asked for alone", _ALIKE)
    last, first = encoder.intermediates(images, [-1, 0])
    expect_same(first, encoder.intermediates(images, [0])[0], "blocks do not come in the order asked for", _ALIKE)
    for frames in (first, last):
        expect(frames.features.dim() == 3 and frames.features.shape[0] == 3, f"shape {list(frames.features.shape)}.")
        expect(frames.lengths.tolist() == [frames.features.shape[1]] * 3, "lengths do not belong to the features.")
    with refused("block 1000"):
        encoder.intermediates(images, [1000])


def refuses_other_pictures(subject: Subject) -> None:
    """Pictures of another size, without three channels, or without a batch are refused with a clear error."""
    pixels = _images(subject).pixels
    wrong = {
        "pictures of another size": pixels[..., :-1, :-1],
        "grey pictures": pixels[:, :1],
        "one picture": pixels[0],
    }
    for what, given in wrong.items():
        with refused(what):
            subject.component.encode(Images(given))


def gradient_reaches_its_weights(subject: Subject) -> None:
    """The features are differentiable down to every trainable part."""
    encoder = subject.make()
    features = encoder.encode(_images(subject)).features
    ramp = torch.linspace(-1, 1, features.numel()).view_as(features)
    expect_gradient(encoder, (features * ramp).mean())


SUITE = Suite(
    base=VisionEncoder,
    needs={"image": ImagePort},
    gives={"frames": FramesPort},
    outputs=outputs,
    cases=(
        features_are_as_declared,
        batch_equals_singles,
        pictures_differ,
        positions_are_known_before,
        pictures_keep_their_sizes,
        intermediates_come_as_asked,
        refuses_other_pictures,
        gradient_reaches_its_weights,
    ),
)
