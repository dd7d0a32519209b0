"""`vision_encoder/timm`: any picture model of the timm library, or a small ViT of given sizes.

Letters: B batch, N patches, D width, H and W sides of the patch map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omnikit.contracts import Contract, FramesPort, ImagePort
from omnikit.errors import OmnikitError, unknown_name
from omnikit.slots.vision_encoder import VisionEncoder, square_pictures
from omnikit.types import Frames, Images

CUSTOM = "custom"
STEMS = ("patch", "conv")
_HALF = (0.5, 0.5, 0.5)


class TimmEncoder(VisionEncoder):
    """Pictures → patch features of one block of a timm model.

    Args:
        model: `custom` (a ViT of the sizes below) or a timm model name, e.g. `vit_base_patch16_siglip_224`.
        pretrained: download the published weights of a named model.
        image_size: side of the pictures in pixels.
        patch_size, dim, depth, heads: sizes of the `custom` model; a named model has its own.
        stem: how the `custom` model embeds patches: one linear map (`patch`), or 3 x 3 convolutions of stride 2
            (`conv`, for a patch size that is a power of two), which learn from fewer pictures.
        layer: the block whose output is given, after the model's final norm; negative counts from the end.
        max_tiles: pictures are read as a whole; above 1 also as up to so many tiles of `image_size` (`AnyRes`).
        image_mode: how a picture becomes a square: squashed (`square`), or in its own shape, with the mean color that
            the encoder normalises by above and below or beside it (`pad`).

    Contract: pictures of `image_size` pixels → frames of the block's width, one for every patch in row-major order.
    Pixels come in [0, 1] and are normalised inside, as the model was trained.
    Ref: Dosovitskiy et al. 2021 (ViT, arXiv 2010.11929); Xiao et al. 2021 (convolutional stem, arXiv 2106.14881).

    >>> TimmEncoder(depth=2).encode(Images(torch.rand(1, 3, 64, 64))).features.shape
    torch.Size([1, 16, 128])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: str = CUSTOM,
        pretrained: bool = False,
        image_size: int = 64,
        patch_size: int = 16,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
        stem: str = "patch",
        layer: int = -1,
        max_tiles: int = 1,
        image_mode: str = "square",
    ) -> None:
        super().__init__()
        self.image_size = image_size
        if model == CUSTOM:
            if pretrained:
                raise OmnikitError("vision_encoder/timm: a custom model has no published weights; name a timm model.")
            self.net = _custom(image_size, patch_size, dim, depth, heads, stem)
        else:
            self.net = _named(model, pretrained, image_size)
        self.num_blocks = len(self.net.feature_info)
        self.layer = self._block(layer)
        if model == CUSTOM:
            mean, std = _HALF, _HALF
        else:
            mean, std = self.net.pretrained_cfg["mean"], self.net.pretrained_cfg["std"]
        square_pictures(image_size, max_tiles, image_mode, mean)  # refuses what the contract refuses
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def contract(
        cls,
        model: str,
        pretrained: bool,
        image_size: int,
        patch_size: int,
        dim: int,
        depth: int,
        heads: int,
        stem: str,
        layer: int,
        max_tiles: int = 1,
        image_mode: str = "square",
    ) -> Contract:
        mean = _HALF
        if model != CUSTOM:
            widths, patches, mean = _facts_of(model, image_size)
            _check_layer(layer, len(widths))
            dim, patch_size = widths[layer], patches[layer]
        return Contract(
            needs={"image": ImagePort(size=square_pictures(image_size, max_tiles, image_mode, mean))},
            gives={"frames": FramesPort(dim=dim, length=(image_size // patch_size) ** 2)},
        )

    @classmethod
    def restore_parameters(cls, parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Parameters to make the component from when its weights are on disk: nothing is downloaded again."""
        return {**parameters, "pretrained": False}

    def encode(self, images: Images) -> Frames:
        """Patch features [B, N, D] of the chosen block, after the final norm."""
        maps = self.net.forward_intermediates(
            self._normalise(images), indices=[self.layer], norm=True, stop_early=True, intermediates_only=True
        )
        return _frames(maps[0])

    def intermediates(self, images: Images, layers: Sequence[int]) -> list[Frames]:
        """Patch features [B, N, D] after each named block, without the final norm, in the order of `layers`."""
        blocks = [self._block(layer) for layer in layers]
        wanted = sorted(set(blocks))
        maps = self.net.forward_intermediates(
            self._normalise(images), indices=wanted, norm=False, stop_early=True, intermediates_only=True
        )
        found = dict(zip(wanted, maps, strict=True))
        return [_frames(found[block]) for block in blocks]

    def _normalise(self, images: Images) -> Tensor:
        pixels = images.pixels
        if pixels.ndim != 4 or pixels.shape[1:] != (3, self.image_size, self.image_size):
            raise OmnikitError(
                f"vision_encoder/timm takes pictures of shape [B, 3, {self.image_size}, {self.image_size}], "
                f"not {list(pixels.shape)}; resize them first."
            )
        return (pixels - self.mean) / self.std

    def _block(self, layer: int) -> int:
        _check_layer(layer, self.num_blocks)
        return layer % self.num_blocks


def _frames(patch_map: Tensor) -> Frames:
    features = patch_map.flatten(2).transpose(1, 2)  # [B, D, H, W] → [B, N, D]
    return Frames(features, torch.full((len(features),), features.shape[1], device=features.device))


def _check_layer(layer: int, num_blocks: int) -> None:
    if not -num_blocks <= layer < num_blocks:
        raise OmnikitError(f"vision_encoder/timm: layer {layer} does not exist; the model has {num_blocks} blocks.")


def _custom(image_size: int, patch_size: int, dim: int, depth: int, heads: int, stem: str) -> nn.Module:
    """A ViT without class token; timm is imported here, as it takes seconds."""
    from timm.layers import HybridEmbed, LayerNorm2d, PatchEmbed
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import ConvStem

    if image_size % patch_size or dim % heads:
        raise OmnikitError(
            f"vision_encoder/timm: image_size {image_size} must be a multiple of patch_size {patch_size}, "
            f"and dim {dim} of heads {heads}."
        )
    embed: Callable[..., nn.Module] = PatchEmbed
    if stem == "conv":
        num_convs = patch_size.bit_length() - 1
        if 2**num_convs != patch_size or patch_size < 2:
            raise OmnikitError(
                f"vision_encoder/timm: stem=conv needs a patch_size that is a power of two, not {patch_size}."
            )
        channels = tuple(min(dim, 32 * 2**step) for step in range(num_convs - 1))
        convs = ConvStem(
            depth=num_convs,
            channels=(*channels, dim),
            stride=(2,) * num_convs,
            norm_layer=LayerNorm2d,
            act_layer=nn.GELU,
        )
        embed = partial(HybridEmbed, convs, proj=False)
        patch_size = 1  # the convolutions have merged the pixels of a patch already
    elif stem not in STEMS:
        raise unknown_name("stem", stem, STEMS)
    return VisionTransformer(
        img_size=image_size,
        patch_size=patch_size,
        embed_dim=dim,
        depth=depth,
        num_heads=heads,
        num_classes=0,
        class_token=False,
        global_pool="",
        embed_layer=embed,
    )


def _named(model: str, pretrained: bool, image_size: int) -> nn.Module:
    import timm

    if not timm.is_model(model):
        near = get_close_matches(model, timm.list_models(), n=6, cutoff=0.5)
        raise unknown_name("timm model", model, [CUSTOM, *near], "`timm.list_models()` names all of them.")
    try:
        return timm.create_model(model, pretrained=pretrained, num_classes=0, img_size=image_size)
    except TypeError:  # a convolutional network takes pictures of any size, and no such argument
        return timm.create_model(model, pretrained=pretrained, num_classes=0)


@lru_cache(maxsize=16)
def _facts_of(model: str, image_size: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, float, float]]:
    """Width and patch side in pixels of every block of a named model, and its mean color; built without memory."""
    with torch.device("meta"):
        net = _named(model, False, image_size)
    info, mean = net.feature_info, net.pretrained_cfg["mean"]
    return tuple(item["num_chs"] for item in info), tuple(item["reduction"] for item in info), tuple(mean)
