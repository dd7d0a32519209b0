"""Attention of the transformers models: inside each sequence of a packed row, by torch's kernel.

In bfloat16 on CPU the fused kernel is up to five times slower than two batched matrix products on the short sequences
of training (`bench/attention.py`), so these take its place there.
Letters: B batch, H heads, Q queries, K keys, D head width; P, G, L as in `packing`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.backbones.packing import NAME, Packing


def use_attention(model: Any) -> None:
    """Make a transformers model attend by `attend`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packing: Packing | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Queries [B, H, Q, D] on keys and values [B, H', K, D], H a multiple of H' → [B, Q, H, D].

    `attention_mask` [B, 1, Q, K] is true where a query may look; without one, attention is causal. With a `packing`, B
    is 1, and every sequence of the row attends to itself alone; there is no mask then.
    """
    if packing is None:
        return _attend(module, query, key, value, attention_mask, **options), None
    window = options.get("sliding_window")
    split = [packing.split(each[0].transpose(0, 1)) for each in (query, key, value)]  # [1, H, P, D] → [G, L, H, D] each
    groups = []
    for rows in zip(*split, strict=True):
        asking, keys, values = (each.transpose(1, 2) for each in rows)  # [G, H, L, D]
        near = _window_mask(asking.shape[2], window, query.device) if window else None
        groups.append(_attend(module, asking, keys, values, near, **options))  # [G, L, H, D]
    return packing.join(groups)[None], None  # [1, P, H, D]


def _window_mask(length: int, window: int, device: torch.device) -> Tensor | None:
    """Where the queries of a sequence may look that see `window` positions, [1, 1, L, L]; None where that is all."""
    if length <= window:
        return None
    steps = torch.arange(length, device=device)
    back = steps[:, None] - steps  # [L, L]
    return ((back >= 0) & (back < window))[None, None]


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> Tensor:
    """`attend` without packing."""
    if value.device.type != "cpu" or value.dtype != torch.bfloat16:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)[0]
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
    return (weights @ value).transpose(1, 2).contiguous()
