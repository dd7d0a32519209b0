"""Projectors that shrink a square map: `avg_pool`, `c_abstractor`, `concat_channel`, `self_mining`."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from omnikit import create
from omnikit.contracts import Free
from omnikit.errors import ContractError, OmnikitError
from omnikit.registry import describe
from omnikit.types import Frames
from omnikit.wiring import Node, Wire, negotiate

DESIGNS = ["avg_pool", "c_abstractor", "concat_channel", "self_mining"]
SIZES: dict[str, Any] = {"in_dim": 64, "out_dim": 5, "in_length": 36, "out_side": 3}
WIRE = [Wire.parse("vision_encoder.frames -> projector.frames")]


def make(design: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    small = {"conv_dim": 12} if design == "c_abstractor" else {}
    return create(f"projector/{design}", **{**SIZES, **small, **changes}).eval()


def frames(length: int = 36, rate: Fraction | None = None) -> Frames:
    features = torch.randn(2, length, 64, generator=torch.Generator().manual_seed(1))
    return Frames(features, torch.full((2,), length), rate)


@pytest.mark.parametrize("design", ["avg_pool", "concat_channel", "self_mining"])
@torch.no_grad()
def test_every_position_out_is_its_own_block(design: str) -> None:
    projector, given = make(design), frames()
    changed = given.features.clone().unflatten(1, (6, 6))
    changed[:, 2:4, 4:6] += 1.0 + torch.arange(64) / 64  # row 1, column 2 of 3 x 3
    before, after = projector.project(given), projector.project(Frames(changed.flatten(1, 2), given.lengths))
    differs = (before.features - after.features).abs().amax((0, 2)) > 1e-6
    assert differs.nonzero().flatten().tolist() == [5]


@torch.no_grad()
def test_the_mean_over_regions_is_what_avg_pool_maps() -> None:
    projector, given = make("avg_pool", out_side=4), frames()
    maps = given.features.transpose(1, 2).unflatten(2, (6, 6))
    pooled = F.adaptive_avg_pool2d(maps, 4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(projector.project(given).features, projector.mlp(pooled))


@torch.no_grad()
def test_the_convolutions_of_c_abstractor_look_beyond_a_block() -> None:
    projector, given = make("c_abstractor"), frames()
    changed = Frames(given.features.clone(), given.lengths)
    changed.features[:, 0] += torch.arange(64) / 8
    differs = (projector.project(given).features - projector.project(changed).features).abs().amax((0, 2)) > 1e-6
    assert int(differs.sum()) > 1


@pytest.mark.parametrize("design", DESIGNS)
@torch.no_grad()
def test_norm_and_positions_come_first(design: str) -> None:
    projector, given = make(design, pre_norm=True, positions=True), frames()
    assert projector.pos_emb.shape == (36, 64)
    scaled = Frames(given.features * 7 + 3, given.lengths)
    torch.testing.assert_close(
        projector.project(given).features, projector.project(scaled).features, atol=1e-4, rtol=1e-3
    )
    before = projector.project(given).features
    projector.pos_emb.data = projector.pos_emb.flip(0)
    assert not torch.allclose(before, projector.project(given).features)


@pytest.mark.parametrize("design", DESIGNS)
def test_positions_are_counted_without_a_tensor(design: str) -> None:
    assert make(design).num_positions(36) == 9


@pytest.mark.parametrize("design", DESIGNS)
def test_maps_that_do_not_fit_are_refused(design: str) -> None:
    for changes, said in (
        ({"in_length": 35}, "no square"),
        ({"out_side": 7}, "1 … 6"),
        ({"out_side": 0}, "1 … 6"),
        ({"depth": 0}, "depth is 0"),
    ):
        with pytest.raises(OmnikitError, match=said):
            make(design, **changes)
    for given in (frames(25), frames(36, Fraction(25))):
        with pytest.raises(OmnikitError, match=f"projector/{design}"):
            make(design).project(given)
    short = Frames(frames().features, torch.tensor([36, 20]))
    with pytest.raises(OmnikitError, match="36 positions"):
        make(design).project(short)


@pytest.mark.parametrize("design", ["concat_channel", "self_mining"])
def test_blocks_must_divide_the_map(design: str) -> None:
    with pytest.raises(OmnikitError, match=r"take one of \[1, 2, 3, 6\]"):
        make(design, out_side=4)


def test_heads_of_self_mining_have_one_width() -> None:
    with pytest.raises(OmnikitError, match="multiple of 64"):
        make("self_mining", in_dim=96)


def test_self_mining_looks_at_the_mean_only_on_request() -> None:
    given = frames()
    features = [make("self_mining", with_mean=choice).project(given).features for choice in (True, False)]
    assert not torch.allclose(*features)


@pytest.mark.parametrize("design", DESIGNS)
def test_widths_and_positions_are_derived_from_the_encoder(design: str) -> None:
    needs = describe(f"projector/{design}").contract.needs["frames"]
    assert (needs.dim, needs.length) == (Free("in_dim"), Free("in_length"))
    encoder = Node("vision_encoder/timm", {"image_size": 64, "patch_size": 8, "dim": 64, "depth": 1, "heads": 1})
    plan = negotiate(
        {"vision_encoder": encoder, "projector": Node(f"projector/{design}", {"out_dim": 16, "out_side": 4})}, WIRE
    )
    derived = {item.parameter: item.value for item in plan.derivations}
    assert derived == {"in_dim": 64, "in_length": 64}
    assert plan.contracts["projector"].gives["embeds"].length == 16


@pytest.mark.parametrize("design", DESIGNS)
def test_pictures_of_their_own_sizes_have_no_square_map(design: str) -> None:
    nodes = {
        "vision_encoder": Node("vision_encoder/qwen2_vit"),
        "projector": Node(f"projector/{design}", {"out_dim": 16}),
    }
    with pytest.raises(ContractError, match="in_length"):
        negotiate(nodes, WIRE)


def test_a_misfit_is_found_before_weights_are_made() -> None:
    encoder = Node("vision_encoder/timm", {"image_size": 48, "patch_size": 8, "dim": 64, "depth": 1, "heads": 1})
    projector = Node("projector/concat_channel", {"out_dim": 16, "out_side": 4})
    with pytest.raises(OmnikitError, match="does not divide 6"):
        negotiate({"vision_encoder": encoder, "projector": projector}, WIRE)
