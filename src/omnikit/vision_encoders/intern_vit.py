"""`vision_encoder/intern_vit`: the picture encoder of InternVL.

Letters: B batch, H and W sides in pixels, N patches, D width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from omnikit.contracts import Contract
from omnikit.vision_encoders.published import NONE, check_sizes, fill, has_weights, read_config, read_tensors
from omnikit.vision_encoders.tower import Tower

_PREFIXES = ("", "vision_model.")
_CONFIG = {"qk_normalization": "use_qk_norm", "qkv_bias": "attention_bias"}
_KEPT = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "norm_type"),
    *("layer_norm_eps", "image_size", "patch_size", "attention_bias", "use_qk_norm"),
)
_NAMES = (
    (r"^embeddings\.class_embedding$", "embeddings.cls_token"),
    (r"^embeddings\.position_embedding$", "embeddings.position_embeddings"),
    (r"^embeddings\.patch_embedding\.", "embeddings.patch_embeddings.projection."),
    (r"^encoder\.layers\.", "encoder.layer."),
    (r"\.ls([12])$", r".lambda_\1"),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.projection_layer."),
    (r"\.attn\.", ".attention."),
)


class InternViT(Tower):
    """Pictures → patch features of a block of InternViT, without the class token.

    Args:
        pretrained: `none` (random weights), or the name or folder of a published model, e.g.
            `OpenGVLab/InternViT-300M-448px`; a folder without weight files gives the architecture alone.
        image_size: side of the pictures in pixels; where a published model had another, its positions are interpolated.
        patch_size, dim, depth, heads: sizes; of a published model too, where patch_size, dim and depth are checked.
        layer: the block whose output is given; negative counts from the end.
        max_tiles: pictures are read as a whole; above 1 also as up to so many tiles of `image_size` (`AnyRes`).
        image_mode: how a picture becomes a square: squashed (`square`), or in its own shape, with the mean color that
            the encoder normalises by above and below or beside it (`pad`).

    Contract: pictures of `image_size` pixels → frames of width `dim`, one for every patch in row-major order.
    Pixels come in [0, 1] and are normalised inside. A random model has layer norms, biases and no norm of queries.
    Ref: Chen et al. 2023 (InternVL, arXiv 2312.14238).

    >>> InternViT(depth=2).encode(Images(torch.rand(1, 3, 64, 64))).features.shape
    torch.Size([1, 16, 128])
    """

    name = "vision_encoder/intern_vit"
    pixel_mean, pixel_std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(
        self,
        pretrained: str = NONE,
        image_size: int = 64,
        patch_size: int = 16,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
        layer: int = -1,
        max_tiles: int = 1,
        image_mode: str = "square",
    ) -> None:
        self.tower_contract(image_size, patch_size, dim, depth, heads, layer, max_tiles, image_mode)
        from transformers import InternVLVisionConfig, InternVLVisionModel

        if pretrained == NONE:
            sizes: Any = {"hidden_size": dim, "num_hidden_layers": depth, "num_attention_heads": heads}
            config = InternVLVisionConfig(
                **sizes, intermediate_size=4 * dim, image_size=image_size, patch_size=patch_size, attention_bias=True
            )
        else:
            config = InternVLVisionConfig(**translated(read_config(pretrained)))
            found = {
                "patch_size": config.patch_size[0],
                "dim": config.hidden_size,
                "depth": config.num_hidden_layers,
            }
            check_sizes(self.name, pretrained, {"patch_size": patch_size, "dim": dim, "depth": depth}, found)
        net = InternVLVisionModel(config)
        if pretrained != NONE and has_weights(pretrained):
            fill(net, from_published(read_tensors(pretrained, _PREFIXES)), pretrained)
        super().__init__(net, pretrained, image_size, layer, num_extra=1)

    @classmethod
    def contract(
        cls,
        image_size: int,
        patch_size: int,
        dim: int,
        depth: int,
        heads: int,
        layer: int,
        max_tiles: int = 1,
        image_mode: str = "square",
        **_: Any,
    ) -> Contract:
        return cls.tower_contract(image_size, patch_size, dim, depth, heads, layer, max_tiles, image_mode)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer's blocks in order."""
        return self.net.encoder.layer

    def embed(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, H, W] → class token and patches, [B, 1 + N, D]."""
        return self.net.embeddings(pixels)


def translated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A published configuration under the names that transformers gives its values."""
    renamed = {_CONFIG.get(name, name): value for name, value in config.items()}
    return {name: renamed[name] for name in _KEPT if name in renamed}


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published InternViT under transformers' names, with query, key and value apart."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        if ".attention.qkv." in name:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                renamed[name.replace(".qkv.", f".{part}_proj.")] = piece
        else:
            renamed[name] = tensor
    return renamed
