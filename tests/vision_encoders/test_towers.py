"""`vision_encoder/clip`, `siglip` and `intern_vit`: square pictures through transformers' own models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from omnikit import create
from omnikit.artefacts import load_component, save_component
from omnikit.contracts import contract_of
from omnikit.errors import OmnikitError, WeightsError
from omnikit.registry import resolve
from omnikit.types import Images
from omnikit.vision_encoders.tower import Tower

NAMES = ["clip", "siglip", "intern_vit"]
SIZES: dict[str, Any] = {"image_size": 32, "patch_size": 8, "dim": 16, "depth": 3, "heads": 2}


def make(name: str, **changes: Any) -> Tower:
    torch.manual_seed(0)
    return create(f"vision_encoder/{name}", **{**SIZES, **changes}).eval()


def pixels(size: int = 32) -> Images:
    return Images(torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)))


def publish(encoder: Tower, folder: Path) -> str:
    """A folder such as the hub has it, with the encoder's weights."""
    encoder.net.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_layer_is_a_hidden_state_of_the_published_model(name: str) -> None:
    encoder = make(name, layer=-2)
    normalised = (pixels().pixels - encoder.mean) / encoder.std
    state = encoder.net(normalised, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(encoder.encode(pixels()).features, state[:, encoder.num_extra :])
    first, second = encoder.intermediates(pixels(), [0, 1])
    torch.testing.assert_close(second.features, encoder.encode(pixels()).features)
    assert not torch.allclose(first.features, second.features)


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_behind_the_layer_does_not_learn(name: str) -> None:
    encoder = make(name, layer=-2)
    encoder.encode(pixels()).features.square().mean().backward()
    for weight_name, weight in encoder.named_parameters():
        assert weight.requires_grad == (weight.grad is not None), weight_name
    assert not any(weight.requires_grad for weight in encoder.blocks[-1].parameters())


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_pictures_of_another_size_interpolate_the_positions(name: str, tmp_path: Path) -> None:
    source = publish(make(name), tmp_path)
    larger = make(name, pretrained=source, image_size=48)
    frames = larger.encode(pixels(48))
    assert frames.features.shape == (2, 36, 16) and larger.num_positions(700, 500) == 36
    torch.testing.assert_close(
        make(name, pretrained=source).encode(pixels()).features, make(name).encode(pixels()).features
    )


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_side_that_patches_do_not_fill_is_cut(name: str) -> None:
    cut = make(name, image_size=36)
    assert cut.encode(pixels(36)).features.shape[1] == 16 == cut.num_positions(36, 36)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_saved_weights_need_no_published_model(name: str, tmp_path: Path) -> None:
    encoder = make(name, pretrained=publish(make(name), tmp_path / "published"))
    save_component(encoder, tmp_path / "saved")
    for file in (tmp_path / "published").iterdir():
        file.unlink()
    loaded = load_component(tmp_path / "saved")
    torch.testing.assert_close(loaded.encode(pixels()).features, encoder.encode(pixels()).features)
    save_component(loaded, tmp_path / "again")
    torch.testing.assert_close(
        load_component(tmp_path / "again").encode(pixels()).features, encoder.encode(pixels()).features
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_without_weights_gives_the_architecture(name: str, tmp_path: Path) -> None:
    source = Path(publish(make(name), tmp_path))
    (source / "model.safetensors").unlink()
    make(name, pretrained=str(source)).encode(pixels())


@pytest.mark.parametrize("name", NAMES)
def test_published_sizes_are_checked(name: str, tmp_path: Path) -> None:
    source = publish(make(name), tmp_path)
    with pytest.raises(OmnikitError, match=r"Set dim=16, depth=3\."):
        make(name, pretrained=source, dim=32, depth=4)
    with pytest.raises(OmnikitError, match="could not be loaded"):
        make(name, pretrained=str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(OmnikitError, match="could not be loaded"):
        make(name, pretrained=source)


@pytest.mark.parametrize("name", NAMES)
def test_foreign_weights_are_refused(name: str, tmp_path: Path) -> None:
    source = Path(publish(make(name), tmp_path))
    save_file({"embeddings.class_embedding": torch.zeros(3)}, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError):
        make(name, pretrained=str(source))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer": 3}, "3 blocks"),
        ({"dim": 15}, "multiple of heads"),
        ({"patch_size": 64}, "must hold a patch"),
    ],
)
def test_impossible_sizes_are_refused_by_the_contract_too(name: str, changes: dict, said: str) -> None:
    with pytest.raises(OmnikitError, match=said):
        make(name, **changes)
    with pytest.raises(OmnikitError, match=said):
        contract_of(resolve(f"vision_encoder/{name}"), {"pretrained": "none", **SIZES, "layer": -1, **changes})


def test_the_whole_model_of_a_family_is_read_for_its_picture_side(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    encoder = make("clip")
    text = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    whole = CLIPModel(CLIPConfig(text_config=text, vision_config=encoder.net.config.to_dict(), projection_dim=4))
    whole.save_pretrained(tmp_path)
    assert "vision_config" in json.loads((tmp_path / "config.json").read_text())
    read = make("clip", pretrained=str(tmp_path))
    state = whole.vision_model.state_dict()
    for name, tensor in read.net.state_dict().items():
        torch.testing.assert_close(tensor, state[name])
