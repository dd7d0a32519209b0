"""`input_style/embed_prefix`: the user's tone as a few embeddings before what is said.

Letters: B batch, S samples, P positions, W backbone width, D tone width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from omnikit.contracts import DERIVED, AudioPort, Contract, FramesPort
from omnikit.errors import OmnikitError
from omnikit.input_styles.tone import tone_encoder, tones
from omnikit.slots.backbone import Segment
from omnikit.slots.input_style import InputStyle
from omnikit.types import Audio


class EmbedPrefix(InputStyle):
    """A reference encoder of the recording, mapped to `positions` embeddings that the backbone reads first.

    Args:
        positions: embeddings P that a recording takes.
        hidden_dim, dim: widths inside the encoder, and of the tone vector D.
        sample_rate: of the recordings, in Hz.
        out_dim: width W of the backbone; derived in a system.

    It learns with the backbone, in every stage in which speech is heard: from replies that depend on the tone, or that
    name it (`format/emova_json`). Waves are silence beyond a row's length.

    Contract: mono audio at `sample_rate` Hz → `positions` embeds of width `out_dim`.
    Ref: the encoder is that of Min et al., "Meta-StyleSpeech", ICML 2021, section 3.1.1; a learnt prefix: Li and Liang,
    "Prefix-Tuning", ACL 2021 (here a function of the recording).
    """

    def __init__(
        self,
        positions: int = 1,
        hidden_dim: int = 128,
        dim: int = 64,
        sample_rate: int = 16_000,
        out_dim: int = DERIVED,
    ) -> None:
        super().__init__()
        if positions < 1:
            raise OmnikitError(
                f"input_style/embed_prefix takes positions >= 1, got {positions}; none is input_style=none."
            )
        self.positions, self.sample_rate, self.width = positions, sample_rate, out_dim
        self.encoder = tone_encoder(sample_rate, hidden_dim, dim)
        self.project = nn.Linear(dim, positions * out_dim)

    @classmethod
    def contract(cls, positions: int, sample_rate: int, out_dim: Any, **sizes: Any) -> Contract:
        return Contract(
            needs={"audio": AudioPort(sample_rate=sample_rate)},
            gives={"embeds": FramesPort(dim=out_dim, length=positions)},
        )

    def read(self, audio: Audio) -> list[Segment | None]:
        """Features [P, W] for every recording [B, S], differentiable. Raises `MediaError` for unusable audio."""
        vectors = tones(self.encoder, audio, self.sample_rate, "input_style/embed_prefix")
        prefixes = self.project(vectors).unflatten(1, (self.positions, self.width))  # [B, P, W]
        return [Segment(frames=prefix, heard=True) for prefix in prefixes]

    def blank(self) -> Segment:
        """Zeros [P, W]."""
        return Segment(frames=torch.zeros(self.positions, self.width), heard=True)
