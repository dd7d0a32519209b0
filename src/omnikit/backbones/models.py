"""The transformers models behind `backbone/hf_causal`: a random Qwen2, or a published causal language model.

transformers is imported inside the functions, as it takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omnikit.backbones.attention import use_attention
from omnikit.backbones.lora import Lora, add_adapters
from omnikit.backbones.packing import VARLEN
from omnikit.backbones.text_tokenizer import PublishedTokenizer
from omnikit.errors import OmnikitError, unknown_name

ROWS_MULTIPLE = 128
SDPA = "sdpa"
ATTENTION = ("eager", *VARLEN)
CUDA_ONLY = ("flash_attention_2", "flash_attention_3")
_ORIGIN = "emova_"
_OTHER_HEADS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


def random_model(sizes: Mapping[str, Any], num_tokens: int) -> nn.Module:
    """A Qwen2 language model of `sizes` (names of its configuration) with tied embeddings and random weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    width, heads, kv_heads = (sizes[name] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    if width % heads or heads % kv_heads:
        raise OmnikitError(
            f"backbone/hf_causal: hidden {width} must be a multiple of heads {heads}, "
            f"and heads a multiple of kv_heads {kv_heads}."
        )
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=num_tokens, tie_word_embeddings=True, **sizes))


def published_text(source: str, system: str | None = None) -> PublishedTokenizer:
    """The text tokenizer of a published model, with a sentence before the first turn (None: its template's own).

    Raises `OmnikitError` when it cannot be had, `ChatTemplateError` for a chat template that cannot be used.
    """
    from transformers import AutoTokenizer

    _refuse_whole_system(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise _not_loaded(source, error) from error
    return PublishedTokenizer(tokenizer, system)


def published_model(source: str, hidden: int, max_positions: int, num_tokens: int) -> nn.Module:
    """The model of `source` in float32 with `num_tokens` embeddings, rounded up to a multiple of 128.

    A folder without weight files gives random weights; where the default device is `meta`, there are none. Raises
    `OmnikitError` when it cannot be had, has another width or fewer positions than asked for, or does more than a
    linear map after the last hidden state.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(source)
        _check_config(source, config, hidden, max_positions)
        folder = Path(source)
        unread = torch.get_default_device().type == "meta"
        if unread or (folder.is_dir() and not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin"))):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        else:
            model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    except OSError as error:
        raise _not_loaded(source, error) from error
    model.resize_token_embeddings(num_tokens, pad_to_multiple_of=ROWS_MULTIPLE, mean_resizing=False)
    return model


def set_attention(model: nn.Module, kind: str) -> None:
    """Make a model attend by `kind`. Raises `OmnikitError` for a kind that does not exist or cannot run here."""
    if kind == SDPA:
        return use_attention(model)
    if kind not in ATTENTION:
        raise unknown_name("kind of attention", kind, (SDPA, *ATTENTION))
    if kind in CUDA_ONLY and not torch.cuda.is_available():
        raise OmnikitError(
            f"attention={kind} cannot run here: its kernels are for CUDA, and there is no such device.\n"
            f"attention={SDPA} runs everywhere; where there is CUDA, torch takes its own flash kernel for it."
        )
    try:
        model.set_attn_implementation(kind)  # type: ignore[operator]
    except (ImportError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OmnikitError(f"attention={kind} cannot run here: {reason}\nattention={SDPA} runs everywhere.") from error
    return None


def known_architecture(source: str, num_new: int, lora: Lora) -> tuple[Any, nn.Module | None]:
    """A published model with `num_new` further tokens, and its output layer unless that is tied.

    Sizes are those of `ARCHITECTURES`, or of the configuration and tokenizer in the folder `source`; nothing is
    fetched. Raises `OmnikitError` where neither is there.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    if source in ARCHITECTURES:
        known = dict(ARCHITECTURES[source])
        num_text, family = int(known.pop("num_text")), str(known.pop("family"))
        config = AutoConfig.for_model(family, **known)
    elif Path(source).is_dir():
        config, num_text = AutoConfig.from_pretrained(source), published_text(source).size
    else:
        raise OmnikitError(
            f"The sizes of '{source}' are not known here, and nothing is fetched to find them.\n"
            f"Known: {', '.join(ARCHITECTURES)}; or give a folder with its configuration and tokenizer."
        )
    config.vocab_size = -(-(num_text + num_new) // ROWS_MULTIPLE) * ROWS_MULTIPLE
    whole = AutoModelForCausalLM.from_config(config)
    if lora.rank:
        add_adapters(whole.base_model, lora)
    return whole.base_model, None if config.tie_word_embeddings else whole.get_output_embeddings()


def _qwen2_5(width: int, layers: int, heads: int, kv_heads: int, intermediate: int, tied: bool) -> dict[str, Any]:
    return {
        "family": "qwen2",
        "num_text": 151_665,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 32_768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    }


ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen2.5-3B-Instruct": _qwen2_5(2048, 36, 16, 2, 11_008, tied=True),
    "Qwen/Qwen2.5-7B-Instruct": _qwen2_5(3584, 28, 28, 4, 18_944, tied=False),
    "Qwen/Qwen2.5-72B-Instruct": _qwen2_5(8192, 80, 64, 8, 29_568, tied=False),
}
"""Sizes of published models, so that a plan of memory needs no network; `num_text` is the length of their tokenizer.

Ref: Qwen2.5 technical report (arXiv 2412.15115), table 1, and the published configurations.
"""


def _check_config(source: str, config: Any, hidden: int, max_positions: int) -> None:
    if config.hidden_size != hidden:
        raise OmnikitError(f"{source} is {config.hidden_size} wide, not {hidden}: set hidden={config.hidden_size}.")
    if config.max_position_embeddings < max_positions:
        raise OmnikitError(f"{source} reads {config.max_position_embeddings} positions: set max_positions to no more.")
    other = [name for name in _OTHER_HEADS if getattr(config, name, None) not in (None, 1, 1.0)]
    if other:
        raise OmnikitError(f"{source} cannot be used: its logits are no plain linear map ({other[0]}).")


def _refuse_whole_system(source: str) -> None:
    """Raise `OmnikitError` for a folder that holds a whole EMOVA system rather than a language model."""
    try:
        kind = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if str(kind).startswith(_ORIGIN):
        raise OmnikitError(
            f"{source} is a whole system ({kind}), not a language model alone.\n"
            f"Load it with omnikit.load('{source}'), its backbone with omnikit.load('{source}#backbone')."
        )


def _not_loaded(source: str, error: Exception) -> OmnikitError:
    reason = str(error).strip().splitlines()[0]
    return OmnikitError(
        f"The published model '{source}' could not be loaded: {reason}\nCheck its name or folder, and the network."
    )
