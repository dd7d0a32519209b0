"""The grouped parameters of `tokenizer/s3`: every key with its value."""

from __future__ import annotations

from dataclasses import dataclass

from omnikit.errors import OmnikitError

NONE = "none"
RATES = (25, 50)


@dataclass(frozen=True)
class ModelSizes:
    """The speech encoder: the name or folder of a published Whisper that training starts from (`pretrained`; then its
    mel bands, width, blocks and heads are its own), or the sizes of a random one.

    `rate` are units a second, 25 or 50. `cut` is the number of blocks before the units; those behind are heard in
    training alone.
    """

    pretrained: str = NONE
    rate: int = 25
    num_mels: int = 80
    dim: int = 256
    layers: int = 6
    cut: int = 3
    heads: int = 4
    ffn_dim: int = 1024
    dropout: float = 0.0


@dataclass(frozen=True)
class CodebookSizes:
    """Quantizer `vq`: units, decay of the running averages, weight of the commitment. Codes are as wide as the
    encoder."""

    num_units: int = 4096
    decay: float = 0.99
    commitment: float = 0.25


@dataclass(frozen=True)
class LevelSizes:
    """Quantizer `fsq`: levels a dimension; their product is the number of units."""

    levels: tuple[int, ...] = (3, 3, 3, 3, 3, 3, 3, 3)


@dataclass(frozen=True)
class DecoderSizes:
    """The text decoder: blocks (0: none, the tokenizer has been trained), heads, inner width, dropout, and the longest
    text in labels."""

    layers: int = 2
    heads: int = 4
    ffn_dim: int = 1024
    dropout: float = 0.1
    max_labels: int = 512


def check_sizes(model: ModelSizes, decoder: DecoderSizes) -> None:
    """Raise `OmnikitError` for sizes that do not fit each other; those of a published model are checked with it."""
    if model.rate not in RATES:
        raise OmnikitError(f"model.rate is {model.rate}; units come 25 or 50 times a second.")
    if decoder.layers < 0 or decoder.max_labels < 1:
        raise OmnikitError(
            f"A decoder of {decoder.layers} blocks for {decoder.max_labels} labels cannot be.\n"
            "Give 0 blocks (no decoder) or more, and room for 1 label or more."
        )
    if model.pretrained == NONE:
        check_split(model.dim, model.heads, "model.heads")
        check_cut(model.cut, model.layers)
        if decoder.layers:
            check_split(model.dim, decoder.heads, "decoder.heads")


def check_cut(cut: int, num_layers: int) -> None:
    """Raise `OmnikitError` unless the cut leaves a block before the units and none that is not there behind them."""
    if not 1 <= cut <= num_layers:
        raise OmnikitError(f"model.cut is {cut}; of {num_layers} blocks, 1 to {num_layers} can stand before the units.")


def check_split(dim: int, num_heads: int, name: str) -> None:
    """Raise `OmnikitError` where a width cannot be divided among heads."""
    if num_heads < 1 or dim < 2 or dim % 2 or dim % num_heads:
        raise OmnikitError(
            f"{name}={num_heads} cannot share a width of {dim}: the width is even, and a multiple of the heads."
        )
