"""`backbone/hf_causal`: any transformers causal language model with units as tokens of their own.

Letters: B batch, L positions, W width, V vocabulary, N trained positions, K codebooks, T units.
Vocabulary, in this order: the text tokenizer's ids, controls that it lacks, codebook 0, codebook 1 …
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omnikit.backbones.attention import use_attention
from omnikit.backbones.constrained import Automaton, Pieces, Vocabulary
from omnikit.backbones.models import published_model, published_text, random_model
from omnikit.backbones.text_tokenizer import ByteBPE, PublishedTokenizer, TextTokenizer, train_text_tokenizer
from omnikit.backbones.unit_vocabulary import UnitVocabulary
from omnikit.contracts import DERIVED, Contract, FramesPort, UnitsPort
from omnikit.errors import OmnikitError, unknown_name
from omnikit.slots.backbone import Backbone, Generated, Segment
from omnikit.slots.grammar import Rule
from omnikit.types import Layout, Losses

NONE = "none"
_FRAME = -1  # stands for a position that is read as features


@dataclass(frozen=True)
class _Rows:
    """A batch laid out: ids of every row, all features in reading order, (row, position) of every trained token."""

    ids: list[list[int]]
    frames: list[Tensor]
    trained: list[tuple[int, int]]

    @property
    def length(self) -> int:
        return max(map(len, self.ids))


class HFCausal(Backbone):
    """A causal language model that reads text, units and features, and writes text and units.

    Args:
        pretrained: `none` (a Qwen2 of the sizes below, random weights), or the name or folder of a published model; a
            folder without weight files gives the architecture alone.
        hidden: width W; of a published model too, which is checked.
        layers, heads, kv_heads, intermediate: sizes of the random model; a published one has its own.
        max_positions: longest sequence that is read or written.
        text_merges: byte-level BPE of the random model, as `fit_text` learns it; empty is plain bytes.
        codebooks, unit_rate, layout, vocab_id: the tokenizer's units, derived in a system.

    Contract: embeds of width `hidden` and units → the same kind of units. Weights are float32.
    Only models whose logits are a plain linear map of the last hidden state (Qwen2, Llama, Mistral, Phi-3 …) are taken.
    Ref: Zhang et al. 2023 (SpeechGPT, arXiv 2305.11000); Chen et al. 2024 (EMOVA, arXiv 2409.18042).

    >>> HFCausal(layers=1, codebooks=(16,), unit_rate=25, layout="frame", vocab_id="demo").unit_text([[3, 1]])
    '<|speech_3|><|speech_1|>'
    """

    def __init__(
        self,
        pretrained: str = NONE,
        hidden: int = 256,
        layers: int = 4,
        heads: int = 4,
        kv_heads: int = 2,
        intermediate: int = 704,
        max_positions: int = 1024,
        text_merges: Sequence[str] = (),
        codebooks: Sequence[int] = DERIVED,
        unit_rate: Any = DERIVED,
        layout: Layout = DERIVED,
        vocab_id: str = DERIVED,
    ) -> None:
        super().__init__()
        self.width = hidden
        self.max_positions = max_positions
        self.codebooks = tuple(int(size) for size in codebooks)
        self.unit_rate = Fraction(unit_rate)
        self.layout = layout
        self.vocab_id = vocab_id
        self._sizes = {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "intermediate_size": intermediate,
            "max_position_embeddings": max_positions,
        }
        self._pretrained = pretrained
        if pretrained != NONE and text_merges:
            raise OmnikitError("backbone/hf_causal: a published model has its own text vocabulary; drop text_merges.")
        self._make(text_merges)

    @classmethod
    def contract(cls, hidden: int, codebooks: Any, unit_rate: Any, layout: Any, vocab_id: Any, **_: Any) -> Contract:
        units = UnitsPort(codebooks=codebooks, rate=unit_rate, layout=layout, vocab_id=vocab_id)
        return Contract(
            needs={"embeds": FramesPort(dim=hidden), "units": units},
            gives={"units": units},
            causal=True,
            lookahead_ms=0.0,
        )

    @classmethod
    def restore_parameters(cls, parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Parameters to make the component from when its weights are in `folder`: nothing is downloaded again."""
        published = parameters.get("pretrained", NONE) != NONE
        return {**parameters, "pretrained": str(folder / "published")} if published else parameters

    def save_extra(self, folder: Path) -> None:
        """Write what a published model needs besides weights and parameters: its configuration and text tokenizer."""
        if isinstance(self.text, PublishedTokenizer):
            self.model.config.save_pretrained(folder / "published")
            self.text.save(folder / "published")

    def fit_text(self, texts: Iterable[str], vocab_size: int) -> None:
        """Learn the BPE of a random model from `texts`; its weights start anew. A published model keeps its own."""
        if self._pretrained == NONE:
            device = self.device
            merges = train_text_tokenizer(texts, vocab_size)
            self._make(merges)
            self.to(device)
            self.parameters_given["text_merges"] = merges

    def unit_text(self, units: Sequence[Sequence[int]]) -> str:
        """Units [K][T] as `<|speech_n|>` (one codebook) or `<|speech_k_n|>`, codebooks of one step side by side."""
        return "".join(map(self.units.spell, self.units.ids(units)))

    def parse_units(self, text: str) -> tuple[tuple[int, ...], ...]:
        """Units [K][T] that `text` spells. Raises `OmnikitError` for anything but whole steps of known units."""
        return self.units.parse(text)

    @torch.no_grad()
    def init_unit_embeddings(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Unit embeddings become a random projection of `vectors` [all units, D], as spread as those of text."""
        if vectors.ndim != 2 or len(vectors) != self.units.size:
            raise OmnikitError(f"init_unit_embeddings takes [{self.units.size}, D] vectors, got {list(vectors.shape)}.")
        table = self.model.get_input_embeddings().weight  # [V, W]
        source = vectors.to(dtype=torch.float32, device="cpu")
        source = (source - source.mean(0)) / source.std(0).clamp(min=1e-6)
        projected = source @ torch.randn(source.shape[1], self.width, generator=generator)
        projected *= table[: self.text.size].std().cpu() / projected.std()
        table[self.units.first : self.units.first + self.units.size] = projected.to(table)

    def count_tokens(self, sequence: Sequence[Segment]) -> int:
        """Positions that the sequence takes."""
        return sum(len(self._ids_of(segment)) for segment in sequence)

    def loss(
        self,
        sequences: Sequence[Sequence[Segment]],
        *,
        misread: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Losses:
        """Mean cross-entropy of the trained tokens, each predicted from what stands before it.

        Raises `OmnikitError` when nothing is trained, a first token is trained, or a sequence is too long.
        Ref: the tokens that are read wrongly on purpose (`misread`): word dropout of Bowman et al., CoNLL 2016 (arXiv
        1511.06349), with other tokens instead of one for "unknown".
        """
        batch = self._rows(sequences)
        self._check_length(batch.length, 0)
        if not batch.trained or any(position == 0 for _, position in batch.trained):
            raise OmnikitError("a batch must be trained on at least one token, and on none that nothing stands before.")
        read = batch if misread == 0 else replace(batch, ids=self._misread(batch, misread, generator))
        embeds = self._embed(read, batch.length)  # [B, L, W]
        hidden = self.model(inputs_embeds=embeds, use_cache=False).last_hidden_state  # [B, L, W]
        row, position = torch.tensor(batch.trained, device=hidden.device).unbind(1)  # [N]
        target = torch.tensor([batch.ids[r][p] for r, p in batch.trained], device=hidden.device)  # [N]
        each = F.cross_entropy(self._logits(hidden[row, position - 1]).float(), target, reduction="none")  # [N]
        counts = torch.bincount(row, minlength=len(batch.ids))  # [B]
        sums = torch.zeros(len(batch.ids), device=hidden.device).index_add_(0, row, each.detach())  # [B]
        return Losses(total=each.mean(), parts={"sequences": sums / counts.clamp(min=1), "tokens": counts})

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Sequence[Segment]],
        *,
        generator: torch.Generator,
        max_new_tokens: int,
        temperature: float = 0.0,
        grammar: Rule | None = None,
    ) -> list[Generated]:
        """Continue each prompt until the end token or `max_new_tokens`; prompts of different lengths share a batch.

        With a `grammar` only tokens are written from which a reply of it can still end within `max_new_tokens`.
        Raises `OmnikitError` when a prompt and `max_new_tokens` exceed `max_positions`, or no reply is short enough.
        """
        if temperature < 0 or max_new_tokens < 1:
            raise OmnikitError(
                f"generate takes temperature >= 0 and max_new_tokens >= 1, got {temperature} and {max_new_tokens}."
            )
        from transformers import DynamicCache

        batch = self._rows(prompts)
        self._check_length(batch.length, max_new_tokens)
        embeds = self._embed(batch, batch.length, left=True)  # [B, L, W]
        pads = torch.tensor([batch.length - len(row) for row in batch.ids], device=embeds.device)  # [B]
        mask = (torch.arange(batch.length, device=embeds.device) >= pads.unsqueeze(1)).long()  # [B, L]
        padded = bool(pads.any())
        places = (mask.cumsum(1) - 1).clamp(min=0)  # [B, L]
        cache = DynamicCache(config=self.model.config)
        end = self.text.controls["end"][0]
        is_open = torch.ones(len(pads), dtype=torch.bool, device=embeds.device)
        written: list[Tensor] = []
        automaton = None if grammar is None else self._automaton(grammar, max_new_tokens)
        states = [0] * len(pads)
        for left in range(max_new_tokens, 0, -1):
            hidden = self.model(
                inputs_embeds=embeds,
                attention_mask=mask if padded else None,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            logits = self._logits(hidden[:, -1]).float()  # [B, V]
            if automaton is not None:
                logits = logits.masked_fill(~automaton.allowed(states, left).to(logits.device), -torch.inf)
            chosen = _choose(logits, temperature, generator)  # [B]
            chosen = torch.where(is_open, chosen, end)
            written.append(chosen)
            is_open &= chosen != end
            if not is_open.any():
                break
            if automaton is not None:
                states = [automaton.after(*pair) for pair in zip(states, chosen.tolist(), strict=True)]
            embeds = self.model.get_input_embeddings()(chosen).unsqueeze(1)  # [B, 1, W]
            mask = F.pad(mask, (0, 1), value=1)
            places = places[:, -1:] + 1
        return [self._finish(row, end) for row in torch.stack(written, dim=1).tolist()]

    def _make(self, merges: Sequence[str]) -> None:
        """Build text tokenizer, unit vocabulary and model."""
        published = self._pretrained != NONE
        self.text: TextTokenizer = published_text(self._pretrained) if published else ByteBPE(merges)
        self.units = UnitVocabulary(self.codebooks, self.text.size)
        self.num_tokens = self.text.size + self.units.size
        self._vocabulary: Vocabulary | None = None
        self._automata: dict[Rule, Automaton] = {}
        if published:
            whole = published_model(self._pretrained, self.width, self.max_positions, self.num_tokens)
        else:
            whole = random_model(self._sizes, self.num_tokens)
        self.model = whole.base_model
        use_attention(self.model)
        self.lm_head = None if whole.config.tie_word_embeddings else whole.get_output_embeddings()

    def _automaton(self, grammar: Rule, max_new_tokens: int) -> Automaton:
        """The grammar over this vocabulary, kept for the next call; its states are found as they are reached."""
        if self._vocabulary is None:
            books = self.units.ranges()
            self._vocabulary = Vocabulary(
                Pieces(self.text.pieces()), books, self.text.controls["end"][0], self.num_tokens
            )
        if grammar not in self._automata:
            self._automata[grammar] = Automaton(grammar, self._vocabulary)
        automaton = self._automata[grammar]
        if automaton.shortest() > max_new_tokens:
            raise OmnikitError(
                f"The shortest reply of this grammar takes up to {automaton.shortest()} tokens, "
                f"but max_new_tokens is {max_new_tokens}."
            )
        return automaton

    def _finish(self, row: list[int], end: int) -> Generated:
        finished = end in row
        ids = row[: row.index(end)] if finished else row
        text = "".join(
            "".join(map(self.units.spell, run)) if is_units else self.text.decode(list(run))
            for is_units, run in groupby(ids, key=lambda index: index >= self.units.first)
        )
        return Generated(ids=tuple(ids), text=text, finished=finished)

    def _ids_of(self, segment: Segment) -> list[int]:
        """Token ids of a segment; features count as `_FRAME`, one for each."""
        given = [value for value in (segment.text, segment.units, segment.frames, segment.control) if value is not None]
        if len(given) != 1:
            raise OmnikitError(f"a segment holds one of text, units, frames and control; this one holds {len(given)}.")
        if segment.text is not None:
            return self.text.encode(segment.text)
        if segment.units is not None:
            return self.units.ids(segment.units)
        if segment.control is not None:
            if segment.control not in self.text.controls:
                raise unknown_name("control", segment.control, self.text.controls)
            return list(self.text.controls[segment.control])
        shape = list(segment.frames.shape)
        if segment.train or len(shape) != 2 or shape[1] != self.width:
            raise OmnikitError(f"features are [N, {self.width}] and never trained; got {shape}, train={segment.train}.")
        return [_FRAME] * shape[0]

    def _rows(self, sequences: Sequence[Sequence[Segment]]) -> _Rows:
        """Lay a batch out. Raises `OmnikitError` for an empty batch or sequence."""
        if not sequences:
            raise OmnikitError("a batch needs at least one sequence.")
        rows = _Rows([], [], [])
        for number, sequence in enumerate(sequences):
            row: list[int] = []
            for segment in sequence:
                ids = self._ids_of(segment)
                if segment.train:
                    rows.trained.extend((number, len(row) + place) for place in range(len(ids)))
                if segment.frames is not None:
                    rows.frames.append(segment.frames)
                row += ids
            if not row:
                raise OmnikitError(f"sequence {number} of the batch is empty.")
            rows.ids.append(row)
        return rows

    def _misread(self, batch: _Rows, share: float, generator: torch.Generator | None) -> list[list[int]]:
        """The ids of `batch` with a share of the units and of the trained text replaced by others of their kind."""
        kinds = [range(self.text.size), *self.units.ranges()]
        controls = {index for control in self.text.controls.values() for index in control}
        ids = [list(row) for row in batch.ids]
        spoken = {(r, p) for r, row in enumerate(ids) for p, index in enumerate(row) if index >= self.units.first}
        places = sorted(spoken.union(batch.trained))
        drawn = torch.rand(len(places), 2, generator=generator).tolist()
        for (row, place), (chance, which) in zip(places, drawn, strict=True):
            told = ids[row][place]
            kind = next(kind for kind in kinds if told in kind)
            other = kind[int(which * len(kind))]
            if chance < share and not controls & {told, other}:
                ids[row][place] = other
        return ids

    def _embed(self, batch: _Rows, length: int, left: bool = False) -> Tensor:
        """Embeddings [B, L, W]; padding on the right is hidden by causality, padding on the left needs a mask."""
        pads = [[0] * (length - len(row)) for row in batch.ids]
        full = [pad + row if left else row + pad for row, pad in zip(batch.ids, pads, strict=True)]
        tokens = torch.tensor(full, device=self.device)  # [B, L]
        embeds = self.model.get_input_embeddings()(tokens.clamp(min=0))
        if not batch.frames:
            return embeds
        places = (tokens == _FRAME).unsqueeze(-1)  # [B, L, 1]
        return embeds.masked_scatter(places, torch.cat(batch.frames).to(embeds))

    def _logits(self, hidden: Tensor) -> Tensor:
        """[…, W] → […, V]; rows that only round the table up are left out."""
        head = self.lm_head.weight if self.lm_head is not None else self.model.get_input_embeddings().weight
        return F.linear(hidden, head[: self.num_tokens])

    def _check_length(self, length: int, new: int) -> None:
        if length + new > self.max_positions:
            raise OmnikitError(
                f"{length} positions and {new} new ones exceed the {self.max_positions} of this backbone.\n"
                f"Shorten the history or audio, ask for fewer new tokens, or train with a larger max_positions."
            )


def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """The next token [B] from logits [B, V]; the draw is made on the generator's device."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    chances = (logits / temperature).softmax(dim=-1).to(generator.device)
    return torch.multinomial(chances, 1, generator=generator).squeeze(1).to(logits.device)
