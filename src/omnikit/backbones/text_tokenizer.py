"""How a backbone cuts text into tokens: a byte-level BPE of its own, or the tokenizer that a published model brings.

Both encode every string without loss of bytes. Controls (`slots.backbone.CONTROLS`) are ids beside the text, so nothing
that a user types becomes one.
Ref: Sennrich et al. 2016 (BPE, arXiv 1508.07909), on bytes as in Radford et al. 2019 (GPT-2).
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omnikit.backbones.chat_template import FROM_TEMPLATE, chat_controls
from omnikit.errors import OmnikitError
from omnikit.slots.backbone import CONTROLS

NUM_BYTES = 256
_UNIT = re.compile(r"<\|speech_[\d_]+\|>")
_INSIDE_UNIT = re.compile(r"(?<=<)(?=\|speech_)")


class TextTokenizer(ABC):
    """Text ↔ ids. `size` ids in all, controls included; `controls` says which ids a control is written as.

    `unwritable` are controls that the model was trained on in a writing that is not known.
    """

    size: int
    controls: Mapping[str, tuple[int, ...]]
    unwritable: frozenset[str] = frozenset()

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of plain text; marks inside it are text like any other."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; controls spell nothing, bytes that are no UTF-8 become U+FFFD."""

    def unit_ids(self, marks: Sequence[Sequence[str]]) -> list[list[int]] | None:
        """The ids of units spelled as `marks`, codebook by codebook, where this vocabulary has them already."""
        return None

    @abstractmethod
    def pieces(self) -> dict[int, bytes]:
        """The bytes of every id that is text. Raises `OmnikitError` for a vocabulary that is not made of bytes."""


class ByteBPE(TextTokenizer):
    """A byte-level BPE that is wholly given by its `merges` ("a b", in order of priority); none is plain bytes.

    Ids: 256 bytes, one for every new piece of the merges, then the controls. Raises `OmnikitError` for a merge whose
    parts no earlier merge made.
    """

    def __init__(self, merges: Sequence[str] = ()) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        vocabulary = {piece: index for index, piece in enumerate(_alphabet())}
        pairs = []
        for merge in merges:
            parts = tuple(merge.split(" "))
            if len(parts) != 2 or any(part not in vocabulary for part in parts):
                raise OmnikitError(f"'{merge}' is no merge of a byte-level BPE: write two known pieces and a space.")
            vocabulary.setdefault("".join(parts), len(vocabulary))
            pairs.append(parts)
        self._tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        self._num_text = len(vocabulary)
        self.controls = {name: (self._num_text + index,) for index, name in enumerate(CONTROLS)}
        self.size = self._num_text + len(CONTROLS)

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode([index for index in ids if index < self._num_text])

    def pieces(self) -> dict[int, bytes]:
        return _bytes_of(self._tokenizer.get_vocab())


def train_text_tokenizer(texts: Iterable[str], vocab_size: int) -> list[str]:
    """Merges of a byte-level BPE with at most `vocab_size` pieces (bytes included), learnt from `texts`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if vocab_size < NUM_BYTES:
        raise OmnikitError(f"a byte-level vocabulary has at least {NUM_BYTES} pieces; {vocab_size} were asked for.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=_alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _bytes_of(vocabulary: Mapping[str, int]) -> dict[int, bytes]:
    """Id → bytes of pieces in the byte-level alphabet.

    Visible Latin-1 stands for itself, the other bytes stand from U+0100 on, in order.
    Ref: Radford et al. 2019 (GPT-2).
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [value for value in range(NUM_BYTES) if value not in visible]
    byte_of = {chr(value): value for value in visible} | {
        chr(0x100 + place): value for place, value in enumerate(hidden)
    }
    return {index: bytes(byte_of[letter] for letter in piece) for piece, index in vocabulary.items()}


class PublishedTokenizer(TextTokenizer):
    """The tokenizer of a published model. Turns are written as its chat template does; other controls are new ids.

    Without a template the marks of turns are new ids too, to be learnt; a vocabulary that has units comes from a model
    that learnt them already, so they are `unwritable`. `num_learnt` ids were text before units or controls were added.
    `system` is the sentence before the first turn, None the template's own. Raises `ChatTemplateError` for a template
    that does not show how turns are written.
    """

    def __init__(self, tokenizer: Any, system: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._units = {mark: index for mark, index in tokenizer.get_vocab().items() if _UNIT.fullmatch(mark)}
        self.num_learnt = min(self._units.values(), default=len(tokenizer))
        if self._units and not tokenizer.chat_template:
            self.unwritable, system = FROM_TEMPLATE, None
        controls = chat_controls(tokenizer, system)
        size = len(tokenizer)
        for name in CONTROLS:
            if name not in controls:
                controls[name] = (size,)
                size += 1
        self.controls = controls
        self.size = size

    def encode(self, text: str) -> list[int]:
        spans = _INSIDE_UNIT.split(text) if self._units else [text]  # a unit that somebody types is text, no unit
        return [
            index
            for span in spans
            for index in self._tokenizer.encode(span, add_special_tokens=False, split_special_tokens=True)
        ]

    def unit_ids(self, marks: Sequence[Sequence[str]]) -> list[list[int]] | None:
        """The ids that the tokenizer's own map gives to units, None where it knows no units.

        Raises `OmnikitError` where it knows units, but other ones.
        """
        if not self._units:
            return None
        asked = {mark for book in marks for mark in book}
        if asked != set(self._units):
            raise OmnikitError(
                f"This published vocabulary has {len(self._units)} units of its own, {len(asked)} are asked for.\n"
                "Use the tokenizer that it was trained with, or a model without units."
            )
        return [[self._units[mark] for mark in book] for book in marks]

    def decode(self, ids: Sequence[int]) -> str:
        known = [index for index in ids if index < len(self._tokenizer)]
        return self._tokenizer.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def pieces(self) -> dict[int, bytes]:
        added = self._tokenizer.added_tokens_decoder
        vocabulary = self._tokenizer.get_vocab()
        if not set(_alphabet()) <= set(vocabulary):
            raise OmnikitError(
                "The text vocabulary of this model is no byte-level BPE, so a reply cannot be held to a grammar.\n"
                "Decode without it (constrained=False), or take a byte-level model, as Qwen and Llama 3."
            )
        return _bytes_of({piece: index for piece, index in vocabulary.items() if index not in added})

    def save(self, folder: Path) -> None:
        """Write the tokenizer's own files."""
        self._tokenizer.save_pretrained(folder)
