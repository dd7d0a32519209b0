"""The grouped parameters of `tokenizer/bottleneck`: every key with its value, the published one where there is one.

Ref: Chen et al., "EMOVA: Empowering Language Models to See, Hear and Speak with Vivid Emotions", CVPR 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omnikit.errors import OmnikitError


@dataclass(frozen=True)
class SpiralSizes:
    """Encoder `spiral`: bands of its log-mel front end; outputs of the four convolution stages, of which the second
    and fourth are the transformers' widths; depth and heads of the two transformers, their inner width over their
    width, and taps and groups of the convolution that tells positions. `layer_drop` skips layers of the second."""

    num_mels: int = 128
    widths: tuple[int, ...] = (384, 512, 1536, 768)
    layers: tuple[int, ...] = (2, 10)
    heads: tuple[int, ...] = (8, 12)
    ffn_ratio: int = 4
    position: tuple[int, ...] = (128, 16)
    dropout: float = 0.1
    layer_drop: float = 0.1


@dataclass(frozen=True)
class FSQSizes:
    """Quantizer `fsq`: levels a dimension; their product is the number of units."""

    levels: tuple[int, ...] = (8, 8, 8, 8)


@dataclass(frozen=True)
class VQSizes:
    """Quantizer `vq`: units and their width, decay of the running averages, weight of the commitment loss."""

    num_units: int = 4096
    dim: int = 64
    decay: float = 0.99
    commitment: float = 0.25


@dataclass(frozen=True)
class ContinuousSizes:
    """Quantizer `none`: width of the vectors, and how many clusters become units after training."""

    num_units: int = 4096
    dim: int = 64


@dataclass(frozen=True)
class HeadSizes:
    """Heads: classes of the CTC head without its blank, width and dropout of every head, weight of a second CTC loss
    before the bottleneck (its linear head exists only above 0), bands of the mel frames to reconstruct."""

    num_classes: int = 240
    dim: int = 512
    dropout: float = 0.1
    auxiliary_ctc: float = 0.0
    num_mels: int = 80


def check_spiral(sizes: SpiralSizes) -> None:
    """Raise `OmnikitError` for sizes of SPIRAL that do not fit each other."""
    counts = {
        "widths": (sizes.widths, 4),
        "layers": (sizes.layers, 2),
        "heads": (sizes.heads, 2),
        "position": (sizes.position, 2),
    }
    for name, (given, count) in counts.items():
        if len(given) != count:
            raise OmnikitError(f"The SPIRAL encoder takes {count} numbers as {name}, not {list(given)}.")
    for width, num_heads in zip((sizes.widths[1], sizes.widths[3]), sizes.heads, strict=True):
        _check_split(sizes.widths, width, num_heads, sizes.position[1])


def _check_split(widths: Sequence[int], width: int, num_heads: int, num_groups: int) -> None:
    for name, divisor in (("heads", num_heads), ("position groups", num_groups)):
        if width % divisor:
            raise OmnikitError(
                f"A transformer of width {width} cannot be split into {divisor} {name}.\n"
                f"Give widths[1] = {widths[1]} and widths[3] = {widths[3]} that its heads and position[1] divide."
            )
