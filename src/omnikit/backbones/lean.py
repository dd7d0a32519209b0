"""A plain decoder read with few operations, for writing token by token on a CPU.

A small model spends much of a token between its matrix products: on small operations and the machinery around them. The
decoders of `FAMILIES` are one and the same network (norm, grouped-query attention over rotary positions, norm, gated
feed-forward), so it is written here once: queries, keys and values in one product, activations and sums inside the
products, keys and values in one block that grows by doubling. Numbers are those of transformers up to the order of
summation.
Ref: Touvron et al. 2023 (LLaMA, arXiv 2302.13971); Ainslie et al. 2023 (grouped queries, arXiv 2305.13245).

Letters: B batch, L new positions, P all positions, W width, H key heads, G query heads of each, D head width, N layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.backbones.reading import Reader, Reading
from omnikit.nn.folding import Remade
from omnikit.nn.packed import PackedMatrix
from omnikit.nn.packed_linear import can_pack

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Model types of transformers that are this network."""
_FIRST_POSITIONS = 128


class LeanTwin:
    """The lean reader of a model that shares its embeddings and norms, made anew when weights change."""

    def __init__(self) -> None:
        self._kept: Remade[LeanDecoder] = Remade()

    def of(self, model: Any) -> LeanDecoder | None:
        """The reader; None for a model of another kind, one that is adapted or learns, or where it cannot compute."""
        if model.training or not _is_plain(model.config) or not can_pack(model):
            return None
        weights = [*model.layers.parameters(), *model.norm.parameters()]
        linears = [child for child in model.layers.modules() if type(child) is nn.Linear]
        per_layer = 7 * len(model.layers)
        if len(linears) != per_layer or any(weight.dtype != torch.float32 for weight in weights):
            return None
        return self._kept.get(weights, lambda: LeanDecoder(model))


def _is_plain(config: Any) -> bool:
    """Whether a configuration is of the one network, and looks at all earlier positions in every layer."""
    kinds = getattr(config, "layer_types", None) or ()
    window = None if kinds else getattr(config, "sliding_window", None)
    return bool(
        config.model_type in FAMILIES
        and config.hidden_act == "silu"
        and window is None
        and all(kind == "full_attention" for kind in kinds)
    )


class LeanDecoder(Reader):
    """A decoder of `FAMILIES` in float32."""

    def __init__(self, model: Any) -> None:
        self.layers = [_Layer(layer) for layer in model.layers]
        self.norm, self.rotary = _Norm(model.norm), model.rotary_emb

    def begin(self) -> Reading:
        return _LeanReading(self)


class _Norm:
    """Root mean square normalisation over the last axis."""

    def __init__(self, norm: Any) -> None:
        self.weight, self.eps = norm.weight, norm.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


@dataclass(frozen=True)
class _Page:
    """What every layer of one read shares: rotations [B, L, 1, D], where it writes, and what may be looked at.

    `sine` is signed for halves that have changed places. `mask` [B, 1, G · L, P] is None where all may be.
    """

    cosine: Tensor
    sine: Tensor
    start: int
    stop: int
    mask: Tensor | None


class _Layer:
    """One layer over packed weights."""

    def __init__(self, layer: Any) -> None:
        attention, feed = layer.self_attn, layer.mlp
        self.head_dim, self.scale = attention.head_dim, attention.scaling
        self.num_groups = attention.num_key_value_groups
        self.num_keys = attention.k_proj.out_features // self.head_dim
        self.num_turned = self.num_keys * (self.num_groups + 1)  # heads of queries and keys
        self.before_attention, self.before_feed = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self.of_queries, self.of_keys = (
            _Norm(getattr(attention, name)) if hasattr(attention, name) else None for name in ("q_norm", "k_norm")
        )
        self.read = _packed(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = _packed(attention.o_proj)
        self.gate, self.up, self.down = (
            _packed(feed.gate_proj, then="silu"),
            _packed(feed.up_proj),
            _packed(feed.down_proj),
        )

    def __call__(self, x: Tensor, keys: Tensor, values: Tensor, page: _Page) -> Tensor:
        """x [B, L, W] → [B, L, W]; what it says is written into `keys` and `values` [B, H, P', D]."""
        x = self.out.onto(x, self._attend(self.before_attention(x), keys, values, page))
        y = self.before_feed(x)
        return self.down.onto(x, self.up.times(self.gate(y), y))

    def _attend(self, x: Tensor, keys: Tensor, values: Tensor, page: _Page) -> Tensor:
        """[B, L, W] → [B, L, H · G · D]"""
        heads = self.read(x).unflatten(-1, (-1, self.head_dim))  # [B, L, H · G + 2 · H, D]
        turned, value = heads[:, :, : self.num_turned], heads[:, :, self.num_turned :]
        if self.of_queries is not None and self.of_keys is not None:
            asked, told = turned.split((self.num_turned - self.num_keys, self.num_keys), 2)
            turned = torch.cat([self.of_queries(asked), self.of_keys(told)], 2)
        turned = torch.addcmul(turned * page.cosine, turned.roll(self.head_dim // 2, -1), page.sine)
        query, key = turned.split((self.num_turned - self.num_keys, self.num_keys), 2)
        keys[:, :, page.start : page.stop] = key.transpose(1, 2)
        values[:, :, page.start : page.stop] = value.transpose(1, 2)
        grouped = query.unflatten(2, (-1, self.num_groups)).permute(0, 2, 3, 1, 4)  # [B, H, G, L, D]
        found = functional.scaled_dot_product_attention(
            grouped.flatten(2, 3),  # the queries of a group ask the same keys, as if they were positions
            keys[:, :, : page.stop],
            values[:, :, : page.stop],
            page.mask,
            scale=self.scale,
        )  # [B, H, G · L, D]
        return found.unflatten(2, (self.num_groups, -1)).permute(0, 3, 1, 2, 4).flatten(2)


class _LeanReading(Reading):
    def __init__(self, reader: LeanDecoder) -> None:
        self.reader: LeanDecoder = reader
        self.length = 0
        self._block: Tensor | None = None  # keys and values of all layers [N, 2, B, H, P', D]

    def read(self, embeds: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        start, stop = self.length, self.length + embeds.shape[1]
        block = self._room(stop, len(embeds))
        cosine, sine = self.reader.rotary(embeds, places)  # [B, L, D]
        low, high = sine.chunk(2, -1)
        signed = torch.cat([-low, high], -1)
        seen = _seen(start, stop, mask)
        if seen is not None:
            seen = seen.repeat(1, 1, self.reader.layers[0].num_groups, 1)  # [B, 1, G · L, P]
        page = _Page(cosine[:, :, None], signed[:, :, None], start, stop, seen)
        x = embeds
        for layer, (keys, values) in zip(self.reader.layers, block, strict=True):
            x = layer(x, keys, values, page)
        self.length = stop
        return self.reader.norm(x)

    def cut(self, length: int) -> bool:
        self.length = length
        return True

    def _room(self, stop: int, num_rows: int) -> Tensor:
        """The block with room for so many positions; a new one is twice as long as it has to be."""
        if self._block is None or self._block.shape[4] < stop:
            first, size = self.reader.layers[0], max(_FIRST_POSITIONS, 2 * stop)
            shape = (len(self.reader.layers), 2, num_rows, first.num_keys, size, first.head_dim)
            block = torch.empty(shape)
            if self._block is not None:
                block[:, :, :, :, : self.length] = self._block[:, :, :, :, : self.length]
            self._block = block
        return self._block


def _seen(start: int, stop: int, mask: Tensor | None) -> Tensor | None:
    """Where the positions from `start` to `stop` may look: [B or 1, 1, L, P]; None where one position sees all.

    A position always sees itself, so that padding has numbers, which nobody looks at.
    """
    if mask is None and stop - start == 1:
        return None
    steps = torch.arange(stop)
    new = steps[start:, None]  # [L, 1]
    if mask is None:
        return (steps <= new)[None, None]
    return ((steps <= new) & mask[:, None].bool() | (steps == new))[:, None]


def _packed(*linears: nn.Linear, then: str = "none") -> PackedMatrix:
    """One product of linear layers side by side."""
    weight = torch.cat([linear.weight.detach() for linear in linears])
    biases = [
        linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias for linear in linears
    ]
    return PackedMatrix(weight, torch.cat(biases), weight.dtype, then)  # type: ignore[arg-type]
