"""Attention of the transformers models: torch's kernel, except in bfloat16 on CPU.

There the fused kernel is up to five times slower than two batched matrix products on the short sequences of training
on CPU (`bench/attention.py`).
Letters: B batch, H heads, Q queries, K keys, D head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "omnikit"


def use_attention(model: nn.Module) -> None:
    """Make a transformers model attend by `attend`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Queries [B, H, Q, D] on keys and values [B, H', K, D], H a multiple of H' → [B, Q, H, D].

    `attention_mask` [B, 1, Q, K] is true where a query may look; without one, attention is causal.
    """
    if value.device.type != "cpu" or value.dtype != torch.bfloat16:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    num_queries, num_keys = query.shape[2], key.shape[2]
    if attention_mask is None:
        attention_mask = torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (each.repeat_interleave(groups, 1) for each in (key, value))
    # Rotary positions leave queries and keys in float32 under autocast.
    scores = (query.to(value) @ key.to(value).transpose(2, 3)) * options["scaling"]  # [B, H, Q, K]
    weights = scores.masked_fill(~attention_mask, float("-inf")).softmax(-1, dtype=torch.float32).to(value.dtype)
    weights = functional.dropout(weights, options.get("dropout", 0.0), module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None
