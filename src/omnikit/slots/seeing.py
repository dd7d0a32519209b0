"""What a backbone reads of pictures: projected features, of the whole picture or of its slices together.

Letters: S slices, N positions of a picture or slice, W backbone width.
"""

from __future__ import annotations

from torch import Tensor

from omnikit.nn.devices import move
from omnikit.nn.picture_sizes import AnyRes, PictureSize, fixed_side
from omnikit.nn.slices import join_pictures
from omnikit.slots.projector import Projector
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.types import Frames, Images


def projected(projector: Projector, frames: Frames, images: Images) -> list[Tensor]:
    """Projected features [N, W] of every picture, from what the encoder gave for `images`; of slices, all of them."""
    embeds = projector.project(move(frames, projector.device))  # [S, N, W]
    if images.grids is not None:
        return join_pictures(embeds.features, images.grids)
    return [row[:length] for row, length in zip(embeds.features, embeds.lengths.tolist(), strict=True)]


def picture_size(vision_encoder: VisionEncoder) -> PictureSize:
    """What pictures an encoder takes, from its contract."""
    return vision_encoder.contract(**vision_encoder.parameters_given).needs["image"].size  # type: ignore[attr-defined]


def num_positions(vision_encoder: VisionEncoder, projector: Projector, size: tuple[int, int]) -> int:
    """Positions that a picture of `size` (height, width) takes, before anything is read."""
    kind = picture_size(vision_encoder)
    if isinstance(kind, AnyRes):
        tile = projector.num_positions(vision_encoder.num_positions(kind.side, kind.side))
        return kind.plan(*size).num_slices * tile
    side = fixed_side(kind)
    seen = size if side is None else (side, side)
    return projector.num_positions(vision_encoder.num_positions(*seen))
