"""`vision_encoder/timm`."""

from __future__ import annotations

import pytest
import torch

from omnikit.contracts import bind_parameters, contract_of
from omnikit.errors import OmnikitError, UnknownName
from omnikit.types import Images
from omnikit.vision_encoders.timm import TimmEncoder

SMALL = {"dim": 32, "depth": 3, "heads": 2}


def pixels(size: int = 64, number: int = 2) -> Images:
    return Images(torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    "parameters",
    [
        {**SMALL},
        {**SMALL, "image_size": 32, "patch_size": 8, "layer": 1},
        {**SMALL, "stem": "conv"},
        {**SMALL, "stem": "conv", "image_size": 48, "patch_size": 4},
        {"model": "vit_tiny_patch16_224", "image_size": 64, "layer": -10},
        {"model": "resnet18", "image_size": 64},
    ],
)
def test_what_comes_out_is_what_the_contract_says(parameters: dict) -> None:
    encoder = TimmEncoder(**parameters).eval()
    contract = contract_of(TimmEncoder, bind_parameters("vision_encoder/timm", TimmEncoder, parameters))
    frames = encoder.encode(pixels(contract.needs["image"].size))
    said = contract.gives["frames"]
    assert frames.features.shape == (2, said.length, said.dim)
    assert frames.lengths.tolist() == [said.length] * 2
    assert frames.rate is None


def test_patches_come_in_row_major_order() -> None:
    encoder = TimmEncoder(**SMALL).eval()
    images = pixels(number=1)
    changed = Images(images.pixels.clone())
    changed.pixels[:, :, 16:32, 48:64] = 0.0  # row 1, column 3 of 4 x 4 patches
    embedded = [encoder.net.patch_embed(item.pixels) for item in (images, changed)]
    differs = (embedded[0] != embedded[1]).any(dim=-1)[0]
    assert differs.nonzero().flatten().tolist() == [7]
    with torch.no_grad():
        first, second = (encoder.intermediates(item, [0])[0].features[0] for item in (images, changed))
    assert int((first - second).norm(dim=-1).argmax()) == 7


def test_intermediates_come_in_the_order_asked_for() -> None:
    encoder = TimmEncoder(**SMALL).eval()
    last, first, again = encoder.intermediates(pixels(), [-1, 0, 2])
    torch.testing.assert_close(last.features, again.features)
    assert not torch.allclose(first.features, last.features)
    torch.testing.assert_close(encoder.net.norm(last.features), encoder.encode(pixels()).features)


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_batched_equals_single(stem: str) -> None:
    encoder = TimmEncoder(**SMALL, stem=stem)
    images = pixels(number=3)
    together = encoder.encode(images).features
    alone = torch.cat([encoder.encode(Images(row[None])).features for row in images.pixels])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_pixels_are_normalised_inside() -> None:
    encoder = TimmEncoder(model="vit_tiny_patch16_224", image_size=32).eval()
    grey = Images(encoder.mean.expand(1, 3, 32, 32))
    torch.testing.assert_close(encoder._normalise(grey), torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 1, 64, 64), (3, 64, 64)])
def test_pictures_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OmnikitError, match="resize"):
        TimmEncoder(**SMALL).encode(Images(torch.zeros(shape)))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"layer": 3}, "3 blocks"),
        ({"layer": -4}, "3 blocks"),
        ({"patch_size": 10}, "multiple"),
        ({"pretrained": True}, "no published weights"),
        ({"stem": "conv", "patch_size": 64, "image_size": 192, "dim": 33}, "multiple"),
        ({"stem": "conv", "patch_size": 12, "image_size": 48}, "power of two"),
        ({"stem": "cnn"}, "Accepted: conv, patch"),
    ],
)
def test_impossible_sizes_are_refused(parameters: dict, said: str) -> None:
    with pytest.raises(OmnikitError, match=said):
        TimmEncoder(**{**SMALL, **parameters})


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'vit_tiny_patch16_224'"):
        TimmEncoder(model="vit_tiny_patch16_24")


def test_loading_trained_weights_downloads_nothing(tmp_path) -> None:
    parameters = bind_parameters("x", TimmEncoder, {"model": "vit_tiny_patch16_224", "pretrained": True})
    assert TimmEncoder.restore_parameters(parameters, tmp_path) == {**parameters, "pretrained": False}


def test_gradients_reach_the_patches() -> None:
    encoder = TimmEncoder(**SMALL)
    encoder.encode(pixels()).features.square().mean().backward()
    assert encoder.net.patch_embed.proj.weight.grad.abs().sum() > 0
