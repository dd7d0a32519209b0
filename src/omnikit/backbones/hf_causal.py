"""`backbone/hf_causal`: any transformers causal language model with units as tokens of their own.

Letters: B batch, L positions, P those of all rows, W width, V vocabulary, N trained positions, K codebooks, T units.
Vocabulary, in this order: the text tokenizer's ids, controls that it lacks, codebook 0, codebook 1 …
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnikit.backbones.chat_template import no_template
from omnikit.backbones.constrained import Automaton, Marks, Pieces, Vocabulary
from omnikit.backbones.lean import LeanTwin
from omnikit.backbones.lora import (
    LORA,
    ROWS,
    Lora,
    adapters_of,
    add_adapters,
    file_name,
    freeze_below_adapters,
    logits_of,
    read_new_rows_only,
)
from omnikit.backbones.models import (
    SDPA,
    known_architecture,
    published_model,
    published_text,
    random_model,
    set_attention,
)
from omnikit.backbones.packing import Packing, read_packed
from omnikit.backbones.pens import EmitterPen, Pen
from omnikit.backbones.reading import ModelReader
from omnikit.backbones.rows import FRAME, RowLayout, Rows
from omnikit.backbones.text_tokenizer import ByteBPE, PublishedTokenizer, TextTokenizer, train_text_tokenizer
from omnikit.backbones.unit_vocabulary import UnitVocabulary, spellings
from omnikit.backbones.writing import Writer, choose, drained, spelled
from omnikit.contracts import DERIVED, Contract, FramesPort, UnitsPort
from omnikit.errors import OmnikitError, unknown_name
from omnikit.nn.packed_linear import PackedTwin
from omnikit.slots.backbone import CONTROLS, Backbone, Generated, Memory, Segment
from omnikit.slots.emitter import HiddenEmitter, Run
from omnikit.slots.grammar import Rule
from omnikit.slots.groups import read_group
from omnikit.types import Layout, Losses

NONE = "none"


class HFCausal(Backbone):
    """A causal language model that reads text, units and features, and writes text and units.

    Args:
        pretrained: `none` (a Qwen2 of the sizes below, random weights), or the name or folder of a published model; a
            folder without weight files gives the architecture alone.
        hidden: width W; of a published model too, which is checked.
        layers, heads, kv_heads, intermediate: sizes of the random model; a published one has its own.
        max_positions: longest sequence that is read or written.
        text_merges: byte-level BPE of the random model, as `fit_text` learns it; empty is plain bytes.
        attention: `sdpa`, or another kind that transformers offers for the model (`eager`, `flash_attention_2`,
            `flash_attention_3`, `flex_attention`).
        embeddings: which rows of a published model's embeddings learn: `all`, `new` (units and controls that it did
            not know), or `none`.
        lora: group of low-rank adapters (`backbones/lora`); with a rank above 0 they learn instead of the layers.
        system: the sentence that a published model's chat template puts before the first turn; null takes the
            template's own, where it has one.
        codebooks, unit_rate, layout, vocab_id: the tokenizer's units, derived in a system. A published vocabulary that
            has these units already keeps its own ids of them.

    Contract: embeds of width `hidden` and units → the same kind of units, and hidden states. Weights are float32.
    Only models whose logits are a plain linear map of the last hidden state (Qwen2, Llama, Mistral, Phi-3 …) are taken.
    Ref: Zhang et al. 2023 (SpeechGPT, arXiv 2305.11000); Chen et al. 2024 (EMOVA, arXiv 2409.18042).

    >>> HFCausal(layers=1, codebooks=(16,), unit_rate=25, layout="frame", vocab_id="demo").unit_text([[3, 1]])
    '<|speech_3|><|speech_1|>'
    """

    model: Any
    lm_head: Any
    max_positions: int

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
        attention: str = SDPA,
        embeddings: Literal["all", "new", "none"] = "all",
        lora: Mapping[str, Any] = LORA,
        system: str | None = None,
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
        self._pretrained, self._attention, self._embeddings, self._system = pretrained, attention, embeddings, system
        self._lora = read_group(Lora, "lora", lora)
        if embeddings not in ROWS:
            raise unknown_name("rows of embeddings that learn", embeddings, ROWS)
        if embeddings == "new" and pretrained == NONE:
            raise OmnikitError(
                "backbone/hf_causal: every row of a random model is new; embeddings=new is for a published."
            )
        if pretrained != NONE and text_merges:
            raise OmnikitError("backbone/hf_causal: a published model has its own text vocabulary; drop text_merges.")
        if pretrained == NONE and system is not None:
            raise OmnikitError("backbone/hf_causal: a random model has no chat template to write a system sentence in.")
        self._make(text_merges)

    @classmethod
    def contract(cls, hidden: int, codebooks: Any, unit_rate: Any, layout: Any, vocab_id: Any, **_: Any) -> Contract:
        units = UnitsPort(codebooks=codebooks, rate=unit_rate, layout=layout, vocab_id=vocab_id)
        return Contract(
            needs={"embeds": FramesPort(dim=hidden), "units": units},
            gives={"units": units, "hidden": FramesPort(dim=hidden)},
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

    @classmethod
    def skeleton(cls, parameters: Mapping[str, Any]) -> nn.Module:
        """Every tensor of the component by name and shape, without memory and without anything fetched.

        Raises `OmnikitError` for a published model whose sizes omnikit does not know.
        """
        with torch.device("meta"):
            if parameters["pretrained"] == NONE:
                return cls(**parameters)
            new = len(CONTROLS) + sum(parameters["codebooks"])
            lora = read_group(Lora, "lora", parameters["lora"])
            component = cls.__new__(cls)
            nn.Module.__init__(component)
            component.model, component.lm_head = known_architecture(parameters["pretrained"], new, lora)
            component._embeddings = parameters["embeddings"]
            return component.requires_grad_(True)

    def requires_grad_(self, requires_grad: bool = True) -> HFCausal:
        """Let the component learn, as far as its adapters and `embeddings` say; or freeze it whole."""
        super().requires_grad_(requires_grad)
        if requires_grad:
            freeze_below_adapters(self.model)
            for table in (self.model.get_input_embeddings(), self.lm_head):
                if table is not None:
                    table.requires_grad_(self._embeddings != "none")
        return self

    def undecayed(self) -> list[nn.Parameter]:
        """Tensors that learn in part only: weight decay would shrink the rest of them."""
        tables = [self.model.get_input_embeddings(), self.lm_head]
        return [table.weight for table in tables if table is not None] if self._first_learning else []

    def file_name(self, name: str) -> str:
        """The name on disk of a tensor: adapted weights keep their own."""
        return file_name(name)

    def starts_fresh(self) -> set[str]:
        """Names on disk of tensors that weights from before may lack, all of them: adapters, which do nothing yet."""
        return {file_name(f"model.{name}") for name, _ in adapters_of(self.model)}

    def fit_text(self, texts: Iterable[str], vocab_size: int) -> None:
        """Learn the BPE of a random model from `texts`; its weights start anew. A published model keeps its own."""
        if self._pretrained == NONE:
            merges = train_text_tokenizer(texts, vocab_size)
            with self.device:
                self._make(merges)
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
        if table.is_meta:  # another process holds the weights
            return
        source = vectors.to(dtype=torch.float32, device="cpu")
        source = (source - source.mean(0)) / source.std(0).clamp(min=1e-6)
        projected = source @ torch.randn(source.shape[1], self.width, generator=generator)
        projected *= table[: self.text.size].std().cpu() / projected.std()
        table[[index for book in self.units.places for index in book]] = projected.to(table)

    def unit_vectors(self, codebook: int, units: Tensor) -> Tensor:
        """The embeddings […, W] of entries […] of a codebook."""
        return self.model.get_input_embeddings()(self._unit_ids(codebook)[units])

    def unit_logits(self, codebook: int, hidden: Tensor) -> Tensor:
        """What the output layer makes of hidden states […, W] for every entry of a codebook."""
        ids = self._unit_ids(codebook)
        rows = self._head()[ids]
        learnt = (ids >= self._first_learning).unsqueeze(1)
        return F.linear(hidden, torch.where(learnt, rows, rows.detach()) if self._first_learning else rows)

    def count_tokens(self, sequence: Sequence[Segment], emitter: HiddenEmitter | None = None) -> int:
        """Positions that the sequence takes."""
        return sum(self._layout.count(segment, emitter) for segment in sequence)

    def loss(
        self,
        sequences: Sequence[Sequence[Segment]],
        *,
        misread: float = 0.0,
        generator: torch.Generator | None = None,
        emitter: HiddenEmitter | None = None,
    ) -> Losses:
        """Mean cross-entropy of the trained tokens, each predicted from what stands before it in its sequence.

        An `emitter` lays units out in places of its own; what it has to write itself counts beside the tokens.

        All sequences are read as one row without padding (`packing`).
        Raises `OmnikitError` when nothing is trained, a first token is trained, or a sequence is too long.
        Ref: the tokens that are read wrongly on purpose (`misread`): word dropout of Bowman et al., CoNLL 2016 (arXiv
        1511.06349), with other tokens instead of one for "unknown".
        """
        batch = self._rows(sequences, emitter)
        self._check_length(batch.length, 0)
        if not batch.trained or any(position == 0 for _, position in batch.trained):
            raise OmnikitError("a batch must be trained on at least one token, and on none that nothing stands before.")
        read = batch if misread == 0 else self._layout.misread(batch, misread, generator)
        packing = Packing.of([len(ids) for ids in batch.ids], self.device)
        packed = read.packed(packing.starts)
        hidden = read_packed(self.model, self._embed(packed, packed.length)[0], packing)  # [P, W]
        row = torch.tensor([r for r, _ in batch.trained], device=hidden.device)  # [N]
        before = torch.tensor([packing.starts[r] + p - 1 for r, p in batch.trained], device=hidden.device)  # [N]
        target = torch.tensor([batch.ids[r][p] for r, p in batch.trained], device=hidden.device)  # [N]
        logits = self._logits(hidden[before]).float()  # [N, V]
        if emitter is not None:
            silent = torch.tensor(self._layout.silent(emitter), dtype=torch.long, device=hidden.device)
            logits = logits.index_fill(1, silent, -torch.inf)
        each = F.cross_entropy(logits, target, reduction="none")  # [N]
        if emitter is not None and batch.runs:
            unseen = emitter.losses(self, self._runs(batch, emitter, hidden, packing.starts))
            each = torch.cat([each, *unseen])
            pairs = zip(batch.runs, unseen, strict=True)
            row = torch.cat([row, *(row.new_full(part.shape, run.row) for run, part in pairs)])
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
        emitter: HiddenEmitter | None = None,
    ) -> list[Generated]:
        """Continue each prompt until the end token or `max_new_tokens`; prompts of different lengths share a batch.

        With a `grammar` only tokens are written from which a reply of it can still end within `max_new_tokens`.
        Raises `OmnikitError` when a prompt and `max_new_tokens` exceed `max_positions`, or no reply is short enough.
        """
        writing = self._tokens(prompts, generator, max_new_tokens, temperature, grammar, emitter)
        written, truncated = drained(writing)
        end = self.text.controls["end"][0]
        rows = zip(zip(*written, strict=True), truncated, strict=True)  # what was told at every position, row by row
        return [self._finish([index for told in row for index in told], end, is_cut) for row, is_cut in rows]

    def stream(
        self,
        prompt: Sequence[Segment],
        *,
        generator: torch.Generator,
        max_new_tokens: int,
        temperature: float = 0.0,
        grammar: Rule | None = None,
        memory: Memory | None = None,
        emitter: HiddenEmitter | None = None,
    ) -> Iterator[str]:
        """The text that `generate` gives for one prompt, while it is written; whole characters only.

        With a `memory` the beginning of the prompt that it holds is not read again; then it holds the prompt and what
        was written. Raises as `generate` does.
        """
        written = self._tokens([prompt], generator, max_new_tokens, temperature, grammar, emitter, memory)
        end = self.text.controls["end"][0]
        told = (index for rows in written for index in rows[0] if index != end)
        return spelled(told, self.text.decode, self.units)

    @torch.no_grad()
    def _tokens(
        self,
        prompts: Sequence[Sequence[Segment]],
        generator: torch.Generator,
        max_new_tokens: int,
        temperature: float,
        grammar: Rule | None,
        emitter: HiddenEmitter | None,
        memory: Memory | None = None,
    ) -> Generator[list[list[int]], None, list[bool]]:
        """What is told of every prompt's next position, until all have ended; `memory` is of a single prompt.

        Returns which of them `max_new_tokens` cut short.
        """
        if temperature < 0 or max_new_tokens < 1:
            raise OmnikitError(
                f"generate takes temperature >= 0 and max_new_tokens >= 1, got {temperature} and {max_new_tokens}."
            )
        batch = self._rows(prompts, emitter)
        self._check_length(batch.length, max_new_tokens)
        embeds = self._embed(batch, batch.length, left=True)  # [B, L, W]
        pads = torch.tensor([batch.length - len(row) for row in batch.ids], device=embeds.device)  # [B]
        automaton = None if grammar is None else self._automaton(grammar, max_new_tokens, emitter)
        table = self.model.get_input_embeddings()
        pen = Pen(table, automaton, len(batch.ids))
        if emitter is not None:
            hand = emitter.hand(self, len(batch.ids), lambda logits: choose(logits, temperature, generator))
            pen = EmitterPen(table, automaton, batch, self._layout, emitter, hand)
        reader = self._lean.of(self.model) or ModelReader(self._packed.of(self.model))
        return (
            yield from Writer(reader, self._logits, self.text.controls["end"][0]).write(
                embeds,
                pads,
                generator=generator,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                pen=pen,
                memory=memory,
            )
        )

    def _make(self, merges: Sequence[str]) -> None:
        """Build text tokenizer, unit vocabulary and model."""
        published = self._pretrained != NONE
        self.text: TextTokenizer = published_text(self._pretrained, self._system) if published else ByteBPE(merges)
        self.units = UnitVocabulary(self.codebooks, self.text.size, self.text.unit_ids(spellings(self.codebooks)))
        self._layout = RowLayout(self.text, self.units, self.width)
        self.num_tokens = self._layout.size
        self._pieces: Pieces | None = None
        self._automata: dict[tuple[Rule, tuple[Marks, ...]], Automaton] = {}
        if published:
            whole = published_model(self._pretrained, self.width, self.max_positions, self.num_tokens)
        else:
            whole = random_model(self._sizes, self.num_tokens)
        self.model, self._lean, self._packed = whole.base_model, LeanTwin(), PackedTwin()
        set_attention(self.model, self._attention)
        self.lm_head = None if whole.config.tie_word_embeddings else whole.get_output_embeddings()
        self._first_learning = 0
        if self._embeddings == "new" and isinstance(self.text, PublishedTokenizer):
            self._first_learning = self.text.num_learnt
            read_new_rows_only(self.model.get_input_embeddings(), self._first_learning)
        if self._lora.rank:
            add_adapters(self.model, self._lora)
        self.requires_grad_(True)

    def _automaton(self, grammar: Rule, max_new_tokens: int, emitter: HiddenEmitter | None) -> Automaton:
        """The grammar over this vocabulary, kept for the next call; its states are found as they are reached."""
        if self._pieces is None:
            self._pieces = Pieces(self.text.pieces())
        key = (grammar, self._layout.spoken(emitter))
        if key not in self._automata:
            vocabulary = Vocabulary(self._pieces, key[1], self.text.controls["end"][0], self.num_tokens)
            self._automata[key] = Automaton(grammar, vocabulary)
        automaton = self._automata[key]
        if automaton.shortest() > max_new_tokens:
            raise OmnikitError(
                f"The shortest reply of this grammar takes up to {automaton.shortest()} tokens, "
                f"but max_new_tokens is {max_new_tokens}."
            )
        return automaton

    def _finish(self, row: list[int], end: int, truncated: bool) -> Generated:
        finished = end in row
        ids = row[: row.index(end)] if finished else row
        text = "".join(
            "".join(map(self.units.spell, run)) if is_units else self.text.decode(list(run))
            for is_units, run in groupby(ids, key=lambda index: index in self.units)
        )
        return Generated(ids=tuple(ids), text=text, finished=finished, truncated=truncated)

    def _rows(self, sequences: Sequence[Sequence[Segment]], emitter: HiddenEmitter | None = None) -> Rows:
        """Lay a batch out. Raises `OmnikitError` for an empty batch or sequence, or turns in an unknown writing."""
        unwritable = self.text.unwritable
        if unwritable and any(segment.control in unwritable for sequence in sequences for segment in sequence):
            raise no_template(self.parameters_given["pretrained"])
        return self._layout.rows(sequences, emitter)

    def _runs(self, batch: Rows, emitter: HiddenEmitter, hidden: Tensor, starts: Sequence[int]) -> list[Run]:
        """The trained runs of units with the hidden states [P, W] of packed rows that they are written from."""
        runs = []
        for run in batch.runs:
            units = torch.tensor(run.units, device=hidden.device)  # [K, T]
            first = starts[run.row] + run.start - 1
            said = torch.tensor(run.said, dtype=torch.long, device=hidden.device) + starts[run.row]  # [M]
            runs.append(
                Run(run.row, units, hidden[first : first + len(emitter.places(run.units, written=True))], hidden[said])
            )
        return runs

    def _unit_ids(self, codebook: int) -> Tensor:
        return torch.tensor(self.units.places[codebook], device=self.device)

    def _embed(self, batch: Rows, length: int, left: bool = False) -> Tensor:
        """Embeddings [B, L, W]; padding on the right is hidden by causality, padding on the left needs a mask."""
        pads = [[0] * (length - len(row)) for row in batch.ids]
        full = [pad + row if left else row + pad for row, pad in zip(batch.ids, pads, strict=True)]
        tokens = torch.tensor(full, device=self.device)  # [B, L]
        table = self.model.get_input_embeddings()
        embeds = table(tokens.clamp(min=0))
        if batch.beside:
            at = [
                (r, p + (len(pads[r]) if left else 0), index) for (r, p), ids in batch.beside.items() for index in ids
            ]
            rows, columns, ids = (torch.tensor(each, device=self.device) for each in zip(*at, strict=True))
            embeds = embeds.index_put((rows, columns), table(ids).to(embeds), accumulate=True)
        if not batch.frames:
            return embeds
        places = (tokens == FRAME).unsqueeze(-1)  # [B, L, 1]
        return embeds.masked_scatter(places, torch.cat([frames.to(embeds) for frames in batch.frames]))

    def _logits(self, hidden: Tensor) -> Tensor:
        """[…, W] → […, V]; rows that only round the table up are left out."""
        return logits_of(hidden, self._head()[: self.num_tokens], self._first_learning)

    def _head(self) -> Tensor:
        """The rows [V, W] of the output layer."""
        return self.lm_head.weight if self.lm_head is not None else self.model.get_input_embeddings().weight

    def _check_length(self, length: int, new: int) -> None:
        if length + new > self.max_positions:
            raise OmnikitError(
                f"{length} positions and {new} new ones exceed the {self.max_positions} of this backbone.\n"
                f"Shorten the history or audio, ask for fewer new tokens, or train with a larger max_positions."
            )
