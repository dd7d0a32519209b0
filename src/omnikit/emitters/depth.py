"""`emitter/depth`: the codes of a step one after the other, by a small transformer over codebooks.

Letters: B rows, R steps, W backbone width, D width of the depth transformer, K codebooks, T steps of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnikit.contracts import DERIVED, Contract, FramesPort, UnitsPort
from omnikit.emitters.checks import check_heads, warn_of_one_codebook
from omnikit.nn.spiral import TransformerLayer
from omnikit.slots.backbone import Backbone
from omnikit.slots.emitter import Choose, Hand, HiddenEmitter, Ids, Place, Run, Stroke, Token

_FFN_RATIO = 4


class Depth(HiddenEmitter):
    """A position a step: the backbone writes the first code, a depth transformer the others, each knowing those before.

    Args:
        dim: width of the depth transformer.
        layers, heads: its layers and their attention heads.
        width: the backbone's, derived in a system.
        codebooks: the tokenizer's, derived in a system; with one there is nothing to learn.

    A position is read as the sum of its codes' embeddings. The first codebook shares its softmax with text, so one
    choice says whether speech goes on. The depth transformer reads the hidden state that the step is written from and
    the codes of the step so far, and has a table and an output layer for each codebook. T steps take T positions.

    Contract: hidden states of width `width` and units of any codebooks → units, whole steps at once.
    Ref: Lee et al. 2022 (RQ-Transformer, arXiv 2203.01941), section 3.2.2; Défossez et al. 2024 (Moshi, arXiv
        2410.00037), section 3.4.1, where the first code is the depth transformer's too.
    """

    def __init__(
        self,
        dim: int = 256,
        layers: int = 2,
        heads: int = 4,
        width: int = DERIVED,
        codebooks: Sequence[int] = DERIVED,
    ) -> None:
        super().__init__()
        self.codebooks = tuple(int(size) for size in codebooks)
        warn_of_one_codebook("depth", self.codebooks)
        check_heads("depth", dim, heads)
        if len(self.codebooks) == 1:
            return
        self.into = nn.Linear(width, dim)
        self.tables = nn.ModuleList(nn.Embedding(size, dim) for size in self.codebooks[:-1])
        self.layers = nn.ModuleList(TransformerLayer(dim, heads, _FFN_RATIO * dim, 0.0) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.outs = nn.ModuleList(nn.Linear(dim, size) for size in self.codebooks[1:])

    @classmethod
    def contract(cls, width: Any, codebooks: Any, **_: Any) -> Contract:
        units = UnitsPort(codebooks=codebooks)
        return Contract(
            needs={"hidden": FramesPort(dim=width), "units": units},
            gives={"units": units},
            causal=True,
            lookahead_ms=0.0,
        )

    def forward(self, hidden: Tensor, codes: Tensor) -> list[Tensor]:
        """Hidden states [R, W] and the first n codes [R, n] of their steps → logits [R, size] of codebooks 1 to n."""
        read = [table(column) for table, column in zip(self.tables, codes.unbind(1), strict=False)]
        x = self.into(hidden).unsqueeze(1) + torch.stack(read, dim=1)  # [R, n, D]
        length = codes.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()[None, None]  # [1, 1, n, n]
        for layer in self.layers:
            x = layer(x, mask)
        return [out(column) for out, column in zip(self.outs, self.norm(x).unbind(1), strict=False)]

    def places(self, units: Ids, written: bool) -> list[Place]:
        """A place for every step, with all its codes."""
        return [Place(tuple(enumerate(step))) for step in zip(*units, strict=True)]

    def losses(self, backbone: Backbone, runs: Sequence[Run]) -> list[Tensor]:
        """Cross-entropies of all codes behind the first of every step, [(K - 1) T] of each run."""
        if len(self.codebooks) == 1:
            return [run.before.new_zeros(0).float() for run in runs]
        units = torch.cat([run.units for run in runs], dim=1).T  # [R, K], steps of all runs
        logits = self(torch.cat([run.before for run in runs]), units[:, :-1])
        each = [F.cross_entropy(own.float(), units[:, book], reduction="none") for book, own in enumerate(logits, 1)]
        lengths = [run.units.shape[1] for run in runs]
        return [part.flatten() for part in torch.stack(each, dim=1).split(lengths)]  # [T, K - 1] each

    def num_unseen(self, num_steps: int) -> int:
        """Every code but those of the first codebook."""
        return (len(self.codebooks) - 1) * num_steps

    def write(self, hidden: Tensor, first: Tensor, choose: Choose) -> Tensor:
        """The steps [R, K] that begin with the codes `first` [R], from hidden states [R, W]."""
        codes = first.unsqueeze(1)  # [R, 1]
        for _ in self.codebooks[1:]:
            last = self(hidden, codes)[-1].float()  # so few codes are read again faster than kept
            codes = torch.cat([codes, choose(last).unsqueeze(1)], dim=1)
        return codes

    def hand(self, backbone: Backbone, num_rows: int, choose: Choose) -> Hand:
        """Begin to write a batch."""
        return _DepthHand(self, choose)


class _DepthHand(Hand):
    """Steps of a batch, whole as soon as their first code is written."""

    def __init__(self, emitter: Depth, choose: Choose) -> None:
        self.emitter, self.choose = emitter, choose

    def write(self, hidden: Tensor, tokens: Sequence[Token]) -> list[Stroke]:
        firsts = {row: token.unit for row, token in enumerate(tokens) if token.unit is not None}
        strokes = [Stroke() for _ in tokens]
        if firsts:
            first = torch.tensor(list(firsts.values()), device=hidden.device)
            steps = self.emitter.write(hidden[list(firsts)], first, self.choose).tolist()
            for row, step in zip(firsts, steps, strict=True):
                strokes[row] = Stroke(tuple(enumerate(step))[1:], begun=1, steps=(tuple(step),))
        return strokes
