"""Small random backbones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from omnikit.backbones.hf_causal import HFCausal
from omnikit.slots.backbone import Segment

TEXTS = ["what color is the star", "the star is red", '{"heard":"", "reply":"the star is red", "emotion":"sad"}'] * 4


@pytest.fixture
def make() -> Callable[..., HFCausal]:
    """Builds a backbone with 64 units and 40 merges."""

    def build(**parameters: Any) -> HFCausal:
        torch.manual_seed(0)
        small = {"hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate": 48, "max_positions": 64}
        units = {"codebooks": [64], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
        backbone = HFCausal(**{**small, **units, **parameters})
        backbone.fit_text(TEXTS, 296)
        return backbone.eval()

    return build


@pytest.fixture
def backbone(make: Callable[..., HFCausal]) -> HFCausal:
    return make()


def lesson(backbone: HFCausal) -> list[list[Segment]]:
    """Two sequences to learn: a text and units."""
    units = tuple(tuple(range(book, book + 3)) for book in range(len(backbone.codebooks)))
    end = Segment(control="end", train=True)
    return [
        [Segment(control="user"), Segment(text="the star is red", train=True), end],
        [Segment(text="what color"), Segment(units=units, train=True), end],
    ]


def publish(folder: Path, *, tied: bool) -> Path:
    """A folder with a published model of one layer and its byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["</s>"])
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>").save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = LlamaConfig(vocab_size=260, max_position_embeddings=64, tie_word_embeddings=tied, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
