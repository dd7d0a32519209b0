"""`vision_encoder/siglip`: the picture side of SigLIP.

Letters: B batch, H and W sides in pixels, N patches, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from omnikit.contracts import Contract
from omnikit.vision_encoders.published import NONE, check_sizes, from_transformers, read_config
from omnikit.vision_encoders.tower import Tower


class SigLIPEncoder(Tower):
    """Pictures → patch features of a block of SigLIP's vision transformer.

    Args:
        pretrained: `none` (random weights), or the name or folder of a published model, e.g.
            `google/siglip-so400m-patch14-384`; a folder without weight files gives the architecture alone.
        image_size: side of the pictures in pixels; where a published model had another, its positions are interpolated.
        patch_size, dim, depth, heads: sizes; of a published model too, where patch_size, dim and depth are checked.
        layer: the block whose output is given, without the final norm; negative counts from the end.
        max_tiles: pictures are read as a whole; above 1 also as up to so many tiles of `image_size` (`AnyRes`).
        image_mode: how a picture becomes a square: squashed (`square`), or in its own shape, with the mean color that
            the encoder normalises by above and below or beside it (`pad`).

    Contract: pictures of `image_size` pixels → frames of width `dim`, one for every patch in row-major order.
    Pixels come in [0, 1] and are normalised inside.
    Ref: Zhai et al. 2023 (SigLIP, arXiv 2303.15343); block -2 as in Chen et al. 2024 (EMOVA, arXiv 2409.18042).

    >>> SigLIPEncoder(depth=2).encode(Images(torch.rand(1, 3, 64, 64))).features.shape
    torch.Size([1, 16, 128])
    """

    name = "vision_encoder/siglip"
    pixel_mean = pixel_std = (0.5, 0.5, 0.5)

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
        from transformers import SiglipVisionConfig, SiglipVisionModel

        if pretrained == NONE:
            sizes: Any = {"hidden_size": dim, "num_hidden_layers": depth, "num_attention_heads": heads}
            edges = {"image_size": image_size, "patch_size": patch_size}
            net: Any = SiglipVisionModel(
                SiglipVisionConfig(**sizes, **edges, intermediate_size=4 * dim, vision_use_head=False)
            )
        else:
            config = SiglipVisionConfig.from_dict({**read_config(pretrained), "vision_use_head": False})
            found = {"patch_size": config.patch_size, "dim": config.hidden_size, "depth": config.num_hidden_layers}
            check_sizes(self.name, pretrained, {"patch_size": patch_size, "dim": dim, "depth": depth}, found)
            net = from_transformers(SiglipVisionModel, pretrained, config)
        super().__init__(net, pretrained, image_size, layer, num_extra=0)

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
        """The final norm."""
        return (self.net.post_layernorm,)

    def embed(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, H, W] → patches with their positions, [B, N, D]."""
        return self.net.embeddings(pixels, interpolate_pos_encoding=True)

    def run(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """One block, [B, N, D] → [B, N, D]."""
        return block(hidden, attention_mask=None)
