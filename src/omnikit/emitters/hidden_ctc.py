"""`emitter/hidden_ctc`: units from the hidden states of the text that they say, all at once.

Letters: B runs, M positions of text, F copies of each, W backbone width, D width of the decoder, V units, T units said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from omnikit.contracts import DERIVED, Contract, FramesPort, Free, UnitsPort
from omnikit.emitters.checks import check_heads
from omnikit.errors import ContractError, OmnikitError
from omnikit.nn.ctc import ctc_losses
from omnikit.nn.spiral import TransformerLayer
from omnikit.slots.backbone import Backbone
from omnikit.slots.emitter import Choose, Hand, HiddenEmitter, Ids, Place, Run, Stroke, Token

MARK = "speech"
_FFN_RATIO = 4
_PERIOD = 10_000.0


class HiddenCTC(HiddenEmitter):
    """Units without tokens: the mark `speech` is all that the language model writes of them.

    Args:
        factor: copies of each hidden state; a run has at most `factor` units for a token of its text.
        dim: width of the decoder.
        layers, heads: its transformer layers and their attention heads.
        width: the backbone's, derived in a system.
        codebooks: the tokenizer's, derived in a system; one.

    Where the format has units, the backbone writes one mark. The hidden states of the text before it in the reply (of
    the text that the user typed where there is none, as in `tts`) are copied `factor` times each and read by a small
    transformer, which is trained by CTC on the units and decoded greedily: the likeliest class of every copy, repeats
    merged and blanks dropped. So a reply takes as long to write as its text, and its sound begins when the text ends.
    Units that do not fit into the copies teach the decoder nothing.

    Contract: hidden states of width `width` and units of one codebook → units, once their text is whole.
    Raises: `ContractError` for several codebooks, `OmnikitError` for a format that parts the units of a reply.
    Ref: Fang et al. 2024 (LLaMA-Omni, arXiv 2409.06666), section 2.4, where the decoder is causal and 25 the factor.
    """

    mark = MARK
    reads_typed = True

    def __init__(
        self,
        factor: int = 25,
        dim: int = 256,
        layers: int = 2,
        heads: int = 4,
        width: int = DERIVED,
        codebooks: Sequence[int] = DERIVED,
    ) -> None:
        super().__init__()
        _refuse_several(codebooks)
        check_heads("hidden_ctc", dim, heads)
        if factor < 1:
            raise OmnikitError(f"emitter/hidden_ctc takes a factor of 1 or more copies, got {factor}.")
        self.codebooks = tuple(int(size) for size in codebooks)
        self.factor = factor
        self.into = nn.Linear(width, dim)
        self.layers = nn.ModuleList(TransformerLayer(dim, heads, _FFN_RATIO * dim, 0.0) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, self.codebooks[0] + 1)

    @classmethod
    def contract(cls, width: Any, codebooks: Any, **_: Any) -> Contract:
        if not isinstance(codebooks, Free):
            _refuse_several(codebooks)
        units = UnitsPort(codebooks=codebooks)
        return Contract(needs={"hidden": FramesPort(dim=width), "units": units}, gives={"units": units}, causal=False)

    def forward(self, said: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Hidden states [M, W] of the text of each run → logits [B, F M, V + 1], the blank last, and their lengths."""
        lengths = torch.tensor([self.factor * len(text) for text in said], device=said[0].device)
        x = self.into(pad_sequence(list(said), batch_first=True)).repeat_interleave(self.factor, dim=1)  # [B, F M, D]
        x = x + _waves(x.shape[1], x.shape[2], x.device).to(x)
        mask = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, None, None]  # [B, 1, 1, F M]
        for layer in self.layers:
            x = layer(x, mask)
        return self.out(self.norm(x)), lengths

    def places(self, units: Ids, written: bool) -> list[Place]:
        """The mark alone, whatever is to be written; what is read, as the user's speech, has a place for every unit."""
        heard = [Place(((0, unit),)) for unit in units[0]]
        return [Place(control=MARK)] if written and heard else heard

    def losses(self, backbone: Backbone, runs: Sequence[Run]) -> list[Tensor]:
        """CTC of each run, [T] equal shares of it."""
        rows = [run.row for run in runs]
        if len(set(rows)) != len(rows):
            raise OmnikitError(
                "emitter/hidden_ctc says all units of a reply at once, and this format puts them in several places.\n"
                "Take format=json, tagged, plain_chain or emova_json, or an emitter that writes step by step."
            )
        if any(len(run.said) == 0 for run in runs):
            raise OmnikitError("emitter/hidden_ctc: a reply has units, but neither it nor its question has any text.")
        logits, lengths = self([run.said for run in runs])
        targets = pad_sequence([run.units[0] for run in runs], batch_first=True)  # [B, T]
        num_units = torch.tensor([run.units.shape[1] for run in runs], device=targets.device)
        each = ctc_losses(logits, lengths, targets, num_units)  # [B]
        return [(one / len(run.units[0])).expand(len(run.units[0])) for one, run in zip(each, runs, strict=True)]

    def num_unseen(self, num_steps: int) -> int:
        """Every unit."""
        return num_steps

    def say(self, said: Sequence[Tensor]) -> list[list[int]]:
        """The units that the text of each run, [M, W] hidden states, is said with; one at least."""
        logits, lengths = self(said)
        blank = self.codebooks[0]
        found = []
        for row, length in zip(logits.float(), lengths.tolist(), strict=True):
            classes = torch.unique_consecutive(row[:length].argmax(-1))
            units = classes[classes != blank].tolist()
            found.append(units or [int(row[:length, :blank].amax(0).argmax())])
        return found

    def hand(self, backbone: Backbone, num_rows: int, choose: Choose) -> Hand:
        """Begin to write a batch."""
        return _CTCHand(self, num_rows)


class _CTCHand(Hand):
    """The text of every row as it grows, until its mark is written."""

    def __init__(self, emitter: HiddenCTC, num_rows: int) -> None:
        self.emitter = emitter
        self.written: list[list[Tensor]] = [[] for _ in range(num_rows)]
        self.typed: list[Tensor] = []
        self.was_text = [False] * num_rows

    def read(self, typed: Sequence[Tensor]) -> None:
        self.typed = list(typed)

    def write(self, hidden: Tensor, tokens: Sequence[Token]) -> list[Stroke]:
        for row, own in enumerate(hidden):
            if self.was_text[row]:
                self.written[row].append(own)  # the state behind a token is that from which the next one is written
        self.was_text = [token.is_text for token in tokens]
        strokes = [Stroke() for _ in tokens]
        marked = [row for row, token in enumerate(tokens) if token.control == MARK]
        if marked:
            for row, units in zip(marked, self.emitter.say([self._said(row, hidden) for row in marked]), strict=True):
                strokes[row] = Stroke(begun=len(units), steps=tuple((unit,) for unit in units))
                self.written[row] = []
        return strokes

    def _said(self, row: int, hidden: Tensor) -> Tensor:
        """What a row has written, or else was asked to say; where there is no text, what it read last."""
        if self.written[row]:
            return torch.stack(self.written[row])
        return self.typed[row] if len(self.typed[row]) else hidden[row : row + 1]


def _refuse_several(codebooks: Sequence[int]) -> None:
    if len(codebooks) > 1:
        raise ContractError(
            f"emitter/hidden_ctc writes units of one codebook, these have {len(codebooks)}.\n"
            "Fits without change: emitter=in_vocab, emitter=delay, emitter=depth."
        )


def _waves(length: int, dim: int, device: torch.device) -> Tensor:
    """Sines and cosines of positions, [length, dim]. Ref: Vaswani et al. 2017 (arXiv 1706.03762), section 3.5."""
    half = torch.arange((dim + 1) // 2, device=device)
    angles = torch.arange(length, device=device)[:, None] * torch.exp(-math.log(_PERIOD) * half / len(half))
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim]
