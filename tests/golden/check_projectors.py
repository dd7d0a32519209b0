"""Projectors against the published ones of the same design."""

from __future__ import annotations

from typing import Any

import torch

from golden.compare import Golden, checks
from omnikit.projectors.avg_pool import AvgPoolProjector
from omnikit.projectors.c_abstractor import CAbstractorProjector
from omnikit.projectors.concat_channel import ConcatChannelProjector
from omnikit.projectors.mlp import MLPProjector
from omnikit.projectors.residual import ResidualProjector
from omnikit.projectors.self_mining import SelfMiningProjector
from omnikit.projectors.square_map import SquareMapProjector
from omnikit.slots.projector import Projector
from omnikit.types import Frames


def same(golden: Golden, projector: Projector) -> None:
    """Same parameter names, same output."""
    state = golden.state("sd/")
    golden.equal("keys", sorted(projector.state_dict()), sorted(golden.meta.get("keys", state)))
    projector.load_state_dict(state)
    features = golden["input"]
    with torch.no_grad():
        projected = projector.project(Frames(features, torch.full((len(features),), features.shape[1])))
    golden.close("output", projected.features)


@checks("omni/projector_mlp?")
def projector_mlp(golden: Golden) -> None:
    meta = golden.meta
    depth = meta["config"].get("mlp_depth", 2)
    same(golden, MLPProjector(in_dim=meta["mm_hidden_size"], out_dim=meta["hidden_size"], depth=depth))


@checks("omni/projector_simpleres")
def residual(golden: Golden) -> None:
    same(golden, ResidualProjector(dim=golden.meta["config"]["channels"]))


def shrinking(golden: Golden, design: type[SquareMapProjector], **sizes: Any) -> None:
    """A connector that shrinks a square map, of which published configurations declare a size and a nominal rate."""
    meta, config = golden.meta, golden.meta["config"]
    target = config["downsample_size"]
    rows, columns = (target, target) if isinstance(target, int) else target
    projector = design(
        in_dim=meta["mm_hidden_size"],
        out_dim=meta["hidden_size"],
        in_length=meta["input"][1],
        out_side=rows,
        depth=config.get("mlp_depth", 2),
        pre_norm=config.get("add_pre_norm", False),
        positions=config.get("add_pos_embed", False),
        **sizes,
    )
    golden.equal("square", rows, columns)
    declared = config["num_input_token"] // config["downsample_rate"]
    golden.equal("declared positions", int(declared), projector.num_positions(meta["input"][1]))
    same(golden, projector)


@checks("omni/projector_avgpool*")
def avg_pool(golden: Golden) -> None:
    shrinking(golden, AvgPoolProjector)


@checks("omni/projector_concat*")
def concat_channel(golden: Golden) -> None:
    shrinking(golden, ConcatChannelProjector)


@checks("omni/projector_cabs*")
def c_abstractor(golden: Golden) -> None:
    config = golden.meta["config"]
    conv_depth = config.get("conv_block_depth", 3)
    shrinking(golden, CAbstractorProjector, conv_dim=config.get("conv_hidden_size", 1024), conv_depth=conv_depth)


@checks("omni/projector_selfmining*")
def self_mining(golden: Golden) -> None:
    shrinking(golden, SelfMiningProjector, with_mean=golden.meta["config"].get("kv_concat_x", True))
