"""The transformers models behind `backbone/hf_causal`: a random Qwen2, or a published causal language model.

transformers is imported inside the functions, as it takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from omnikit.backbones.text_tokenizer import PublishedTokenizer
from omnikit.errors import OmnikitError

ROWS_MULTIPLE = 128
_OTHER_HEADS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


def random_model(sizes: Mapping[str, int], num_tokens: int) -> nn.Module:
    """A Qwen2 language model of `sizes` (names of its configuration) with tied embeddings and random weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    width, heads, kv_heads = (sizes[name] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    if width % heads or heads % kv_heads:
        raise OmnikitError(
            f"backbone/hf_causal: hidden {width} must be a multiple of heads {heads}, "
            f"and heads a multiple of kv_heads {kv_heads}."
        )
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=num_tokens, tie_word_embeddings=True, **sizes))


def published_text(source: str) -> PublishedTokenizer:
    """The text tokenizer of a published model."""
    from transformers import AutoTokenizer

    try:
        return PublishedTokenizer(AutoTokenizer.from_pretrained(source))
    except (OSError, ValueError) as error:
        raise _not_loaded(source, error) from error


def published_model(source: str, hidden: int, max_positions: int, num_tokens: int) -> nn.Module:
    """The model of `source` in float32 with `num_tokens` embeddings, rounded up to a multiple of 128.

    A folder without weight files gives random weights. Raises `OmnikitError` when it cannot be had, has another width
    or fewer positions than asked for, or does more than a linear map after the last hidden state.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(source)
        _check_config(source, config, hidden, max_positions)
        folder = Path(source)
        if folder.is_dir() and not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        else:
            model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    except OSError as error:
        raise _not_loaded(source, error) from error
    model.resize_token_embeddings(num_tokens, pad_to_multiple_of=ROWS_MULTIPLE, mean_resizing=False)
    return model


def _check_config(source: str, config: Any, hidden: int, max_positions: int) -> None:
    if config.hidden_size != hidden:
        raise OmnikitError(f"{source} is {config.hidden_size} wide, not {hidden}: set hidden={config.hidden_size}.")
    if config.max_position_embeddings < max_positions:
        raise OmnikitError(f"{source} reads {config.max_position_embeddings} positions: set max_positions to no more.")
    other = [name for name in _OTHER_HEADS if getattr(config, name, None) not in (None, 1, 1.0)]
    if other:
        raise OmnikitError(f"{source} cannot be used: its logits are no plain linear map ({other[0]}).")


def _not_loaded(source: str, error: Exception) -> OmnikitError:
    reason = str(error).strip().splitlines()[0]
    return OmnikitError(
        f"The published model '{source}' could not be loaded: {reason}\nCheck its name or folder, and the network."
    )
