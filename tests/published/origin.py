"""Checkpoint folders in the layout of EMOVA's own training code, made of the tensors that a test has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_origin(
    folder: Path,
    tensors: Mapping[str, Tensor],
    llm: Mapping[str, Any],
    heads_of_tower: int,
    tokenizer: Mapping[str, Any] | None,
    *,
    max_length: int = 64,
    end: str = "<|im_end|>",
    template: str | None = TEMPLATE,
    shards: int = 1,
) -> Path:
    """A folder with config, tokenizer and weights, in several shards with an index where asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "emova_qwen2",
        "vocab_size": llm["vocab_size"],
        "hidden_size": llm["hidden_size"],
        "intermediate_size": llm["intermediate_size"],
        "num_hidden_layers": llm["layers"],
        "num_attention_heads": llm["heads"],
        "num_key_value_heads": llm["kv_heads"],
        "rope_theta": llm["rope_theta"],
        "rms_norm_eps": llm["rms_norm_eps"],
        "tie_word_embeddings": llm["tie"],
        "max_position_embeddings": 2 * max_length,
        "tokenizer_model_max_length": max_length,
        "tokenizer_padding_side": "left",
        "image_aspect_ratio": "native_anyres",
        "mm_vision_tower": {"type": "Qwen2VisionTower", "num_heads": heads_of_tower},
        "mm_projector": {"type": "MLPProjector", "mlp_depth": 2},
        "use_mm_proj": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "chat_template": template}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    kept = {name: value.clone().contiguous() for name, value in tensors.items()}
    if shards == 1:
        save_file(kept, folder / "model.safetensors")
        return folder
    places = {}
    for number in range(shards):
        shard = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(list(kept.items())[number::shards])
        save_file(part, folder / shard)
        places |= dict.fromkeys(part, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def every_id_a_unit(num_units: int, end: str = "<|im_end|>") -> dict[str, Any]:
    """A tokenizer whose ids are units in order, and behind them the end."""
    words = [*(f"<|speech_{unit}|>" for unit in range(num_units)), end]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": word, **flags} for index, word in enumerate(words)],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: index for index, word in enumerate(words)}, "unk_token": end},
    }
