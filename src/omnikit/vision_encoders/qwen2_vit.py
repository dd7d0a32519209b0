"""`vision_encoder/qwen2_vit`: pictures at their own resolution, each with as many patches as it has.

Letters: I pictures, H and W sides in pixels, P patches of all pictures, N patches and M = N / merge²
positions of one, C width of the transformer, D width that leaves, V = 3 x 2 x patch² values of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from omnikit.contracts import Contract, FramesPort, ImagePort
from omnikit.errors import OmnikitError
from omnikit.nn.picture_sizes import NativeSize
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.types import Frames, Images
from omnikit.vision_encoders.packed_attention import (
    PackedSelfAttention,
    Packing,
    plane_angles,
    rotation_of,
    split_lengths,
)
from omnikit.vision_encoders.published import NONE, check_sizes, fill, has_weights, read_config, read_tensors
from omnikit.vision_encoders.tower import CLIP_MEAN, CLIP_STD, PUBLISHED, check_layer, restored

_FRAMES = 2  # a still picture fills the two frames of a patch
_PREFIXES = ("", "visual.", "model.visual.")


class Qwen2ViT(VisionEncoder):
    """Pictures of any sizes → features of merged patches, by attention inside each picture alone.

    Args:
        pretrained: `none` (random weights), or the name or folder of a published model that has this encoder, e.g.
            `Emova-ollm/qwen2vit600m` or `Qwen/Qwen2-VL-7B-Instruct`, of which only this part is fetched; a folder
            without weight files gives the architecture alone.
        dim, depth, heads, out_dim, patch_size, merge: sizes; of a published model too, where they are checked.
        min_pixels, max_pixels: bounds of a picture's area; sides become multiples of `patch_size` x `merge`.
        layer: the block whose output is merged; negative counts from the end.

    Contract: pictures of their own sizes → frames of width `out_dim`, one for every `merge` x `merge` patches in
    row-major order; `num_positions` says how many. Pixels come in [0, 1] and are normalised inside.
    Ref: Wang et al. 2024 (Qwen2-VL, arXiv 2409.12191); Dehghani et al. 2023 (NaViT, arXiv 2307.06304).

    >>> encoder = Qwen2ViT(depth=2)
    >>> encoder.encode(Images.of([torch.rand(3, 56, 84), torch.rand(3, 112, 56)])).lengths.tolist()
    [6, 8]
    """

    net: Any
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        pretrained: str = NONE,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
        out_dim: int = 128,
        patch_size: int = 14,
        merge: int = 2,
        min_pixels: int = 56 * 56,
        max_pixels: int = 1792 * 1792,
        layer: int = -1,
    ) -> None:
        super().__init__()
        _check(dim, depth, heads, patch_size * merge, min_pixels, max_pixels, layer)
        from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
        from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

        sizes = {
            "embed_dim": dim,
            "depth": depth,
            "num_heads": heads,
            "hidden_size": out_dim,
            "patch_size": patch_size,
            "spatial_merge_size": merge,
        }
        if pretrained == NONE:
            config = Qwen2VLVisionConfig(**sizes)
        else:
            published = read_config(pretrained)
            config = Qwen2VLVisionConfig(
                **{name: published[name] for name in (*sizes, "mlp_ratio") if name in published}
            )
            names = dict(zip(sizes, ("dim", "depth", "heads", "out_dim", "patch_size", "merge"), strict=True))
            found = {names[name]: getattr(config, name) for name in sizes}
            check_sizes("vision_encoder/qwen2_vit", pretrained, {names[name]: sizes[name] for name in sizes}, found)
        self.net = Qwen2VisionTransformerPretrainedModel(config)
        del self.net.rotary_pos_emb  # its angles are computed here
        for block in self.net.blocks:
            block.attn = PackedSelfAttention(block.attn.qkv, block.attn.proj, heads)
        if pretrained != NONE and has_weights(pretrained):
            fill(self.net, read_tensors(pretrained, _PREFIXES), pretrained)
        self.head_dim, self.patch_size, self.merge = dim // heads, patch_size, merge
        self.size = NativeSize(patch_size * merge, min_pixels, max_pixels)
        self._pretrained = pretrained
        self.layer = self._block(layer)
        for block in self.net.blocks[self.layer + 1 :]:
            block.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1), persistent=False)

    @classmethod
    def contract(
        cls,
        dim: int,
        depth: int,
        heads: int,
        out_dim: int,
        patch_size: int,
        merge: int,
        min_pixels: int,
        max_pixels: int,
        layer: int,
        **_: Any,
    ) -> Contract:
        _check(dim, depth, heads, patch_size * merge, min_pixels, max_pixels, layer)
        return Contract(
            needs={"image": ImagePort(size=NativeSize(patch_size * merge, min_pixels, max_pixels))},
            gives={"frames": FramesPort(dim=out_dim)},
        )

    @classmethod
    def restore_parameters(cls, parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Parameters to make the component from when its weights are in `folder`: nothing is downloaded again."""
        return restored(parameters, folder)

    def save_extra(self, folder: Path) -> None:
        """Write what a published model needs besides weights and parameters: its configuration."""
        if self._pretrained != NONE:
            self.net.config.save_pretrained(folder / PUBLISHED)

    def num_positions(self, height: int, width: int) -> int:
        """Positions M of a picture that had `height` x `width` pixels before it was resized."""
        rows, columns = (side // self.size.multiple for side in self.size.fit(height, width))
        return rows * columns

    def encode(self, images: Images) -> Frames:
        """Features [I, longest M, D] of merged patches, padded with zeros behind the shorter ones.

        Raises `OmnikitError` for pictures whose sides are no multiples of `patch_size` x `merge`.
        """
        grids = self._grids(images)
        (hidden,) = self.hidden_states(self.patches(images), grids, [self.layer])
        lengths = [rows * columns // self.merge**2 for rows, columns in grids]
        return _frames(self.net.merger(hidden), lengths)  # [all M, D]

    def learn_from(self, block: int) -> None:
        """Freeze the patch embedding and the blocks before `block`."""
        for part in (self.net.patch_embed, *self.net.blocks[: self._block(block)]):
            part.requires_grad_(False)

    def intermediates(self, images: Images, layers: Sequence[int]) -> list[Frames]:
        """Patch features [I, longest N, C] after each named block, before any merging, in the order of `layers`."""
        grids = self._grids(images)
        states = self.hidden_states(self.patches(images), grids, [self._block(layer) for layer in layers])
        return [_frames(self._in_rows(hidden, grids), [rows * columns for rows, columns in grids]) for hidden in states]

    def patches(self, images: Images) -> Tensor:
        """Normalised patches [P, V] of all pictures, those that are merged next to each other."""
        each = []
        for picture in images.each():
            pixels = (picture - self.mean) / self.std
            blocks = rearrange(
                pixels,
                "c (y p h) (x q w) -> (y x p q) c 1 h w",
                p=self.merge,
                q=self.merge,
                h=self.patch_size,
                w=self.patch_size,
            )
            each.append(blocks.expand(-1, -1, _FRAMES, -1, -1).flatten(1))  # [N, V]
        return torch.cat(each)

    def hidden_states(self, patches: Tensor, grids: Sequence[tuple[int, int]], blocks: Sequence[int]) -> list[Tensor]:
        """Features [P, C] of patches [P, V] after each of `blocks`; `grids` are (rows, columns) of every picture."""
        weight = self.net.patch_embed.proj.weight.flatten(1)  # [C, V]
        hidden = F.linear(patches.to(weight.dtype), weight)
        lengths = tuple(rows * columns for rows, columns in grids)
        packing = Packing(lengths, rotation_of(self.angles(grids)))
        found = {}
        for number, block in enumerate(self.net.blocks[: max(blocks) + 1]):
            hidden = block(hidden, cu_seqlens=packing)
            if number in blocks:
                found[number] = hidden
        return [found[number] for number in blocks]

    def angles(self, grids: Sequence[tuple[int, int]]) -> Tensor:
        """Angles [P, head width / 2] by which queries and keys of every patch are turned."""
        rows, columns = [], []
        for height, width in grids:
            places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
            y, x = rearrange(places, "a (y p) (x q) -> a (y x p q)", p=self.merge, q=self.merge)
            rows.append(y)
            columns.append(x)
        device = self.mean.device
        return plane_angles(torch.cat(rows).to(device), torch.cat(columns).to(device), self.head_dim)

    def _in_rows(self, hidden: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
        """Features [P, C] of every picture in row-major order."""
        each = [
            rearrange(span, "(y x p q) c -> (y p x q) c", y=rows // self.merge, p=self.merge, q=self.merge)
            for span, (rows, columns) in zip(hidden.split([y * x for y, x in grids]), grids, strict=True)
        ]
        return torch.cat(each)

    def _grids(self, images: Images) -> list[tuple[int, int]]:
        pixels, unit = images.pixels, self.size.multiple
        packed = images.sizes is not None and pixels.ndim == 2 and len(pixels) == 3
        batch = images.sizes is None and pixels.ndim == 4 and pixels.shape[1] == 3
        sizes = [tuple(picture.shape[1:]) for picture in images.each()] if packed or batch else []
        odd = [(height, width) for height, width in sizes if height % unit or width % unit]
        if odd or not sizes:
            what = f"one of {odd[0][1]} x {odd[0][0]} pixels" if odd else f"shape {list(pixels.shape)}"
            raise OmnikitError(
                f"vision_encoder/qwen2_vit takes pictures [I, 3, H, W], or Images.of([...]) for several sizes,\n"
                f"with sides that are multiples of {unit} pixels, not {what}; resize them to the size of its port."
            )
        return [(height // self.patch_size, width // self.patch_size) for height, width in sizes]

    def _block(self, layer: int) -> int:
        check_layer("vision_encoder/qwen2_vit", layer, len(self.net.blocks))
        return layer % len(self.net.blocks)


def _check(dim: int, depth: int, heads: int, unit: int, min_pixels: int, max_pixels: int, layer: int) -> None:
    if dim % (4 * heads):
        raise OmnikitError(
            f"vision_encoder/qwen2_vit: dim {dim} must be a multiple of 4 x heads {heads}: "
            "a quarter of every head turns with the row, a quarter with the column."
        )
    if not 0 < min_pixels <= max_pixels or max_pixels < unit**2:
        raise OmnikitError(
            f"vision_encoder/qwen2_vit: min_pixels {min_pixels} must be above 0 and at most max_pixels {max_pixels}, "
            f"which holds at least one position of {unit} x {unit} pixels."
        )
    check_layer("vision_encoder/qwen2_vit", layer, depth)


def _frames(features: Tensor, lengths: Sequence[int]) -> Frames:
    return Frames(split_lengths(features, lengths), torch.tensor(lengths, device=features.device))
