"""What encoders of square pictures have in common: pixels normalised, blocks run one by one, one of them chosen.

Letters: B batch, H and W sides in pixels, E class tokens, N patches, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from omnikit.contracts import Contract, FramesPort, ImagePort
from omnikit.errors import OmnikitError
from omnikit.slots.vision_encoder import VisionEncoder, square_pictures
from omnikit.types import Frames, Images
from omnikit.vision_encoders.published import NONE

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Tower(VisionEncoder):
    """Square pictures → patch features after one block of a vision transformer, as that block leaves them.

    No norm is applied after the block: it is hidden state `layer` of the published model. What stands behind the block
    is kept but does not learn.
    """

    name = "vision_encoder"
    pixel_mean: ClassVar[tuple[float, float, float]]
    pixel_std: ClassVar[tuple[float, float, float]]
    net: Any
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        pretrained: str,
        image_size: int,
        layer: int,
        num_extra: int,
    ) -> None:
        super().__init__()
        self.net = net
        self.image_size, self.num_extra = image_size, num_extra
        self._pretrained = pretrained
        self.num_blocks = len(self.blocks)
        self.layer = self._block(layer)
        for part in (*self.blocks[self.layer + 1 :], *self.behind):
            part.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(self.pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.pixel_std).view(1, 3, 1, 1), persistent=False)

    @property
    @abstractmethod
    def blocks(self) -> nn.ModuleList:
        """The transformer's blocks in order."""

    @property
    def behind(self) -> Iterable[nn.Module]:
        """Parts of the published model that stand behind its last block."""
        return ()

    @abstractmethod
    def embed(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, H, W] → what the first block reads, [B, E + N, D]."""

    def run(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """One block, [B, E + N, D] → [B, E + N, D]."""
        return block(hidden)

    @classmethod
    def tower_contract(
        cls,
        image_size: int,
        patch_size: int,
        dim: int,
        depth: int,
        heads: int,
        layer: int,
        max_tiles: int,
        image_mode: str,
    ) -> Contract:
        """The contract of such an encoder. Raises `OmnikitError` for sizes that do not fit each other."""
        if image_size < patch_size or dim % heads:
            raise OmnikitError(
                f"{cls.name}: image_size {image_size} must hold a patch of patch_size {patch_size}, "
                f"and dim {dim} must be a multiple of heads {heads}."
            )
        check_layer(cls.name, layer, depth)
        frames = FramesPort(dim=dim, length=(image_size // patch_size) ** 2)
        pictures = ImagePort(size=square_pictures(image_size, max_tiles, image_mode, cls.pixel_mean))
        return Contract(needs={"image": pictures}, gives={"frames": frames})

    @classmethod
    def restore_parameters(cls, parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Parameters to make the component from when its weights are in `folder`: nothing is downloaded again."""
        return restored(parameters, folder)

    def save_extra(self, folder: Path) -> None:
        """Write what a published model needs besides weights and parameters: its configuration."""
        if self._pretrained != NONE:
            self.net.config.save_pretrained(folder / PUBLISHED)

    def encode(self, images: Images) -> Frames:
        """Patch features [B, N, D] of the chosen block."""
        return self._after(images, [self.layer])[0]

    def learn_from(self, block: int) -> None:
        """Freeze what stands before block number `block`."""
        learning = self.blocks[self._block(block) : self.layer + 1]
        self.requires_grad_(False)
        learning.requires_grad_(True)

    def intermediates(self, images: Images, layers: Sequence[int]) -> list[Frames]:
        """Patch features [B, N, D] after each named block, in the order of `layers`."""
        return self._after(images, [self._block(layer) for layer in layers])

    def _after(self, images: Images, blocks: Sequence[int]) -> list[Frames]:
        pixels = images.pixels
        if images.sizes is not None or pixels.ndim != 4 or pixels.shape[1:] != (3, self.image_size, self.image_size):
            raise OmnikitError(
                f"{self.name} takes pictures of shape [B, 3, {self.image_size}, {self.image_size}], "
                f"not {list(pixels.shape)}; resize them first."
            )
        found = self.hidden_states((pixels - self.mean) / self.std, blocks)
        lengths = torch.full((len(pixels),), found[0].shape[1], device=pixels.device)
        return [Frames(features, lengths) for features in found]

    def hidden_states(self, pixels: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Features [B, N, D] of normalised pixels [B, 3, H, W] after each of `blocks` (counted from 0)."""
        hidden, found = self.embed(pixels), {}
        for number, block in enumerate(self.blocks[: max(blocks) + 1]):
            hidden = self.run(block, hidden)
            if number in blocks:
                found[number] = hidden[:, self.num_extra :]
        return [found[number] for number in blocks]

    def _block(self, layer: int) -> int:
        check_layer(self.name, layer, self.num_blocks)
        return layer % self.num_blocks


PUBLISHED = "published"


def restored(parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Parameters of an encoder whose weights are in `folder`, its published configuration beside them."""
    published = parameters.get("pretrained", NONE) != NONE
    return {**parameters, "pretrained": str(folder / PUBLISHED)} if published else parameters


def check_layer(name: str, layer: int, num_blocks: int) -> None:
    """Raise `OmnikitError` for a block that does not exist."""
    if not -num_blocks <= layer < num_blocks:
        raise OmnikitError(f"{name}: layer {layer} does not exist; the model has {num_blocks} blocks.")
