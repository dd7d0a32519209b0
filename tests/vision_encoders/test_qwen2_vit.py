"""`vision_encoder/qwen2_vit`: native resolution, packed patches, attention inside each picture."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from omnikit.artefacts import load_component, save_component
from omnikit.errors import OmnikitError, WeightsError
from omnikit.types import Images
from omnikit.vision_encoders.packed_attention import Packing, packed_attention
from omnikit.vision_encoders.qwen2_vit import Qwen2ViT

SIZES: dict[str, Any] = {
    "dim": 16,
    "depth": 3,
    "heads": 2,
    "out_dim": 12,
    "patch_size": 4,
    "min_pixels": 64,
    "max_pixels": 4096,
}
SHAPES = [(16, 24), (8, 8), (8, 8), (24, 8)]


def make(**changes: Any) -> Qwen2ViT:
    torch.manual_seed(0)
    return Qwen2ViT(**{**SIZES, **changes}).eval()


def pictures(shapes: list[tuple[int, int]] = SHAPES) -> Images:
    generator = torch.Generator().manual_seed(0)
    return Images.of([torch.rand(3, height, width, generator=generator) for height, width in shapes])


def published(encoder: Qwen2ViT, folder: Path, prefix: str = "") -> str:
    """A folder such as the hub has it: the whole model's configuration, and weights in two files."""
    folder.mkdir()
    config = {"model_type": "qwen2_vl", "vision_config": encoder.net.config.to_dict()}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {f"{prefix}{name}": tensor.contiguous() for name, tensor in encoder.net.state_dict().items()}
    shards = {name: "b.safetensors" if "merger" in name else "a.safetensors" for name in tensors}
    if prefix:
        shards["lm_head.weight"] = "never.safetensors"
    for shard in ("a.safetensors", "b.safetensors"):
        save_file({name: tensors[name] for name, place in shards.items() if place == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return str(folder)


@torch.no_grad()
def test_pictures_share_a_call_and_nothing_else() -> None:
    encoder, images = make(), pictures()
    frames = encoder.encode(images)
    assert frames.lengths.tolist() == [6, 1, 1, 3] == [encoder.num_positions(*size) for size in SHAPES]
    changed = images.each()
    changed[1] = changed[1] * 0.5
    other = encoder.encode(Images.of(changed))
    same = [torch.allclose(one, two, atol=1e-6) for one, two in zip(frames.features, other.features, strict=True)]
    assert same == [True, False, True, True]


@torch.no_grad()
def test_attention_equals_that_under_a_dense_block_mask() -> None:
    lengths = (5, 3, 3, 1)
    heads = [torch.randn(12, 2, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    owner = torch.arange(4).repeat_interleave(torch.tensor(lengths))
    mask = owner[:, None] == owner
    dense = F.scaled_dot_product_attention(*(item.transpose(0, 1) for item in heads), attn_mask=mask).transpose(0, 1)
    found = packed_attention(*heads, Packing(lengths, (torch.zeros(1), torch.zeros(1))))
    torch.testing.assert_close(found, dense)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@torch.no_grad()
def test_the_kernel_of_a_gpu_gives_the_same_attention() -> None:
    lengths = (50, 3, 3, 200)
    heads = [torch.randn(256, 4, 80, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    packing = Packing(lengths, (torch.zeros(1, device="cuda"),) * 2)
    half = [item.to("cuda", torch.bfloat16) for item in heads]
    expected = packed_attention(*(item.cpu().float() for item in half), packing)
    torch.testing.assert_close(packed_attention(*half, packing).cpu().float(), expected, atol=2e-2, rtol=2e-2)


@torch.no_grad()
def test_a_batch_of_one_size_equals_the_same_pictures_packed() -> None:
    encoder = make()
    batch = torch.rand(3, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    together, packed = encoder.encode(Images(batch)), encoder.encode(Images.of(list(batch)))
    torch.testing.assert_close(together.features, packed.features)
    assert together.lengths.tolist() == packed.lengths.tolist()


@torch.no_grad()
def test_features_come_in_row_major_order() -> None:
    encoder = make()
    plain = pictures([(16, 24)])
    (painted,) = (picture.clone() for picture in plain.each())
    painted[:, 8:12, 20:24] = 0.0  # patch (2, 5) of 4 x 6, position (1, 2) of 2 x 3
    states = [encoder.intermediates(images, [0])[0].features[0] for images in (plain, Images.of([painted]))]
    assert int((states[0] - states[1]).norm(dim=-1).argmax()) == 2 * 6 + 5
    merged = [encoder.encode(images).features[0] for images in (plain, Images.of([painted]))]
    assert int((merged[0] - merged[1]).norm(dim=-1).argmax()) == 1 * 3 + 2


@torch.no_grad()
def test_the_layer_is_merged_and_intermediates_are_not() -> None:
    images = pictures()
    early, late = make(layer=0), make(layer=-1)
    assert not torch.allclose(early.encode(images).features, late.encode(images).features)
    inner = late.intermediates(images, [-1, 0])
    assert [frames.features.shape for frames in inner] == [(4, 24, 16)] * 2
    assert inner[0].lengths.tolist() == [24, 4, 4, 12]
    torch.testing.assert_close(early.intermediates(images, [0])[0].features, inner[1].features)


def test_blocks_behind_the_layer_do_not_learn() -> None:
    encoder = make(layer=1)
    encoder.encode(pictures()).features.square().mean().backward()
    for name, weight in encoder.named_parameters():
        assert weight.requires_grad == (weight.grad is not None), name
    assert not any(weight.requires_grad for weight in encoder.net.blocks[2].parameters())


def test_gradients_are_the_same_when_blocks_are_computed_again() -> None:
    gradients = []
    for checkpointing in (False, True):
        encoder = make().train()
        if checkpointing:
            encoder.net.gradient_checkpointing_enable()
        encoder.encode(pictures()).features.square().mean().backward()
        gradients.append(encoder.net.patch_embed.proj.weight.grad)
    torch.testing.assert_close(*gradients)


@torch.no_grad()
def test_memory_grows_with_the_pictures_not_with_their_square() -> None:
    encoder = make(depth=1)
    sizes = []
    for number in (8, 16):
        images = pictures([(32, 32)] * number)
        with torch.profiler.profile(profile_memory=True) as profile:
            encoder.encode(images)
        sizes.append(max(event.self_cpu_memory_usage for event in profile.key_averages()))
    assert sizes[1] < 2.5 * sizes[0]


@torch.no_grad()
def test_published_weights_are_found_in_the_whole_model(tmp_path: Path) -> None:
    encoder = make()
    expected = encoder.encode(pictures()).features
    for number, prefix in enumerate(("", "visual.", "model.visual.")):
        read = make(pretrained=published(encoder, tmp_path / str(number), prefix))
        torch.testing.assert_close(read.encode(pictures()).features, expected)
    save_component(read, tmp_path / "saved")
    torch.testing.assert_close(load_component(tmp_path / "saved").encode(pictures()).features, expected)


def test_published_weights_must_fit(tmp_path: Path) -> None:
    source = published(make(), tmp_path / "model")
    with pytest.raises(OmnikitError, match=r"Set dim=16, out_dim=12\."):
        make(pretrained=source, dim=32, out_dim=3)
    save_file({"patch_embed.proj.weight": torch.zeros(2)}, tmp_path / "model" / "a.safetensors")
    (tmp_path / "model" / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"patch_embed.proj.weight": "a.safetensors"}})
    )
    with pytest.raises(WeightsError, match="missing blocks"):
        make(pretrained=source)
    (tmp_path / "model" / "a.safetensors").write_bytes(b"broken")
    with pytest.raises(WeightsError, match="no readable safetensors"):
        make(pretrained=source)


@pytest.mark.parametrize(
    "given",
    [
        Images(torch.zeros(1, 3, 12, 16)),
        Images(torch.zeros(1, 1, 16, 16)),
        Images(torch.zeros(3, 16, 16)),
        Images.of([torch.zeros(3, 16, 16), torch.zeros(3, 16, 20)]),
        Images.of([torch.zeros(1, 16, 16)]),
        Images(torch.zeros(3, 0), ()),
    ],
)
def test_other_pictures_are_refused(given: Images) -> None:
    with pytest.raises(OmnikitError, match="multiples of 8 pixels"):
        make().encode(given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer": 3}, "3 blocks"),
        ({"dim": 20}, "multiple of 4 x heads"),
        ({"max_pixels": 63}, "min_pixels 64"),
        ({"min_pixels": 0}, "above 0"),
        ({"min_pixels": 20, "max_pixels": 40}, "at least one position"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(OmnikitError, match=said):
        make(**changes)


def test_packed_pictures_come_apart_as_they_went_in() -> None:
    generator = torch.Generator().manual_seed(0)
    single: list[Tensor] = [torch.rand(3, height, width, generator=generator) for height, width in SHAPES]
    images = Images.of(single)
    assert len(images) == 4 and images.pixels.shape == (3, 16 * 24 + 64 + 64 + 24 * 8)
    for picture, given in zip(images.each(), single, strict=True):
        assert torch.equal(picture, given)
        assert picture.untyped_storage().data_ptr() == images.pixels.untyped_storage().data_ptr()
    assert all(one.data_ptr() < two.data_ptr() for one, two in pairwise(images.each()))
