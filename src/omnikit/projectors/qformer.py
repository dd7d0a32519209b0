"""`projector/qformer`: learned queries that read the features of a picture by cross-attention.

Letters: B batch, N positions, Q queries, C encoder width, D width of the queries, W backbone width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from omnikit.contracts import DERIVED, Contract, FramesPort
from omnikit.errors import OmnikitError
from omnikit.slots.projector import Projector
from omnikit.types import Frames

_QUERY_STD = 0.02
_CROSS_EVERY = 2


class QFormerProjector(Projector):
    """A transformer over learned queries, every second layer of which looks at the features; then a linear map.

    Args:
        in_dim: width of the encoder's features.
        out_dim: width of the backbone.
        num_queries: positions that leave, however many come in.
        dim, depth, heads: width, layers and attention heads of the queries' transformer.

    Contract: frames of width `in_dim`, as many as there are → `num_queries` embeds of width `out_dim`.
    Ref: Li et al. 2023 (BLIP-2, arXiv 2301.12597).

    >>> QFormerProjector(in_dim=8, out_dim=16, num_queries=4, dim=32, depth=2)
    """

    def __init__(
        self,
        in_dim: int = DERIVED,
        out_dim: int = DERIVED,
        num_queries: int = 32,
        dim: int = 256,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if dim % heads or min(num_queries, depth, heads) < 1:
            raise OmnikitError(
                f"projector/qformer: dim {dim} must be a multiple of heads {heads}, "
                f"and num_queries {num_queries} and depth {depth} at least 1."
            )
        from transformers import Blip2QFormerConfig, Blip2QFormerModel

        config = Blip2QFormerConfig(
            hidden_size=dim,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=4 * dim,
            encoder_hidden_size=in_dim,
            cross_attention_frequency=_CROSS_EVERY,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.in_dim = in_dim
        self.queries = nn.Parameter(torch.randn(1, num_queries, dim) * _QUERY_STD)
        self.qformer = Blip2QFormerModel(config)
        self.out = nn.Linear(dim, out_dim)

    @classmethod
    def contract(cls, in_dim: Any, out_dim: Any, num_queries: int, **_: Any) -> Contract:
        return Contract(
            needs={"frames": FramesPort(dim=in_dim)},
            gives={"embeds": FramesPort(dim=out_dim, length=num_queries)},
        )

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, C] → [B, Q, W]; padding is not looked at.

        Raises `OmnikitError` for features of another width, and for features in time, whose clock would be lost.
        """
        features = frames.features
        if features.shape[-1] != self.in_dim:
            raise OmnikitError(
                f"projector/qformer was made for features of width {self.in_dim}, not {features.shape[-1]}."
            )
        if frames.rate is not None:
            raise OmnikitError(
                f"projector/qformer sums up pictures; features in time ({frames.rate} Hz) lose their clock."
            )
        places = torch.arange(features.shape[1], device=features.device)
        found = self.qformer(
            query_embeds=self.queries.expand(len(features), -1, -1),
            encoder_hidden_states=features,
            encoder_attention_mask=(places < frames.lengths[:, None]).long(),  # [B, N]
        ).last_hidden_state  # [B, Q, D]
        hidden = self.out(found)
        return Frames(hidden, torch.full_like(frames.lengths, hidden.shape[1]))
