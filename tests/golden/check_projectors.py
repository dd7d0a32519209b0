"""`projector/mlp` against the published projector of the same name."""

from __future__ import annotations

import torch

from golden.compare import Golden, checks
from omnikit.projectors.mlp import MLPProjector
from omnikit.types import Frames


@checks("omni/projector_mlp?")
def projector_mlp(golden: Golden) -> None:
    """Same parameter names, same output."""
    meta = golden.meta
    projector = MLPProjector(
        in_dim=meta["mm_hidden_size"], out_dim=meta["hidden_size"], depth=meta["config"].get("mlp_depth", 2)
    )
    golden.equal("keys", list(projector.state_dict()), meta["keys"])
    projector.load_state_dict(golden.state("sd/"))
    features = golden["input"]
    with torch.no_grad():
        projected = projector.project(Frames(features, torch.full((len(features),), features.shape[1])))
    golden.close("output", projected.features)
