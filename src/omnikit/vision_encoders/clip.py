"""`vision_encoder/clip`: the picture side of CLIP.

Letters: B batch, H and W sides in pixels, N patches, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from omnikit.contracts import Contract
from omnikit.vision_encoders.published import NONE, check_sizes, from_transformers, read_config
from omnikit.vision_encoders.tower import CLIP_MEAN, CLIP_STD, Tower


class CLIPEncoder(Tower):
    """Pictures → patch features of a block of CLIP's vision transformer, without the class token.

    Args:
        pretrained: `none` (random weights), or the name or folder of a published model, e.g.
            `openai/clip-vit-large-patch14-336`; a folder without weight files gives the architecture alone.
        image_size: side of the pictures in pixels; where a published model had another, its positions are interpolated.
        patch_size, dim, depth, heads: sizes; of a published model too, where patch_size, dim and depth are checked.
        layer: the block whose output is given, without the final norm; negative counts from the end.
        max_tiles: pictures are read as a whole; above 1 also as up to so many tiles of `image_size` (`AnyRes`).
        image_mode: how a picture becomes a square: squashed (`square`), or in its own shape, with the mean color that
            the encoder normalises by above and below or beside it (`pad`).

    Contract: pictures of `image_size` pixels → frames of width `dim`, one for every patch in row-major order.
    Pixels come in [0, 1] and are normalised inside.
    Ref: Radford et al. 2021 (CLIP, arXiv 2103.00020); block -2 as in Liu et al. 2023 (LLaVA, arXiv 2304.08485).

    >>> CLIPEncoder(depth=2).encode(Images(torch.rand(1, 3, 64, 64))).features.shape
    torch.Size([1, 16, 128])
    """

    name = "vision_encoder/clip"
    pixel_mean, pixel_std = CLIP_MEAN, CLIP_STD

    def __init__(
        self,
        pretrained: str = NONE,
        image_size: int = 64,
        patch_size: int = 16,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
        layer: int = -2,
        max_tiles: int = 1,
        image_mode: str = "square",
    ) -> None:
        self.tower_contract(image_size, patch_size, dim, depth, heads, layer, max_tiles, image_mode)
        from transformers import CLIPVisionConfig, CLIPVisionModel

        if pretrained == NONE:
            sizes: Any = {"hidden_size": dim, "num_hidden_layers": depth, "num_attention_heads": heads}
            config = CLIPVisionConfig(**sizes, intermediate_size=4 * dim, image_size=image_size, patch_size=patch_size)
            net: Any = CLIPVisionModel(config)
        else:
            config = CLIPVisionConfig.from_dict(read_config(pretrained))
            found = {"patch_size": config.patch_size, "dim": config.hidden_size, "depth": config.num_hidden_layers}
            check_sizes(self.name, pretrained, {"patch_size": patch_size, "dim": dim, "depth": depth}, found)
            net = from_transformers(CLIPVisionModel, pretrained, config)
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
        return self.net.encoder.layers

    @property
    def behind(self) -> Iterable[nn.Module]:
        """The norm of the class token."""
        return (self.net.post_layernorm,)

    def embed(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, H, W] → class token and patches, [B, 1 + N, D]."""
        return self.net.pre_layrnorm(self.net.embeddings(pixels, interpolate_pos_encoding=True))

    def run(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """One block, [B, 1 + N, D] → [B, 1 + N, D]."""
        return block(hidden, attention_mask=None)
