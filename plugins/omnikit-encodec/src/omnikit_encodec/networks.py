"""The networks of EnCodec, built from the modules of the `encodec` package, and what their units are.

Letters: B batch, K codebooks, T units, D width of the codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

from encodec.modules import SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from omnikit.errors import OmnikitError

SAMPLE_RATE = 24_000
UNTRAINED = "untrained-encodec"
Network = TypeVar("Network", bound=nn.Module)


def hop_of(ratios: Sequence[int]) -> int:
    """Samples of one unit: the product of the strides. Raises `OmnikitError` for strides that cannot be."""
    if not ratios or min(ratios) < 2:
        raise OmnikitError(f"ratios are {list(ratios)}; give the strides of the decoder, each 2 or more: [8, 5, 4, 2].")
    return math.prod(ratios)


def rate_of(ratios: Sequence[int]) -> Fraction:
    """Units a second."""
    return Fraction(SAMPLE_RATE, hop_of(ratios))


def make_encoder(dim: int, num_filters: int, ratios: Sequence[int]) -> SEANetEncoder:
    """Waves [B, 1, S] → [B, D, T], causal."""
    return _normalised(
        SEANetEncoder(dimension=dim, n_filters=num_filters, ratios=list(ratios), norm="none", causal=True)
    )


def make_decoder(dim: int, num_filters: int, ratios: Sequence[int]) -> SEANetDecoder:
    """[B, D, T] → waves [B, 1, S], causal."""
    return _normalised(
        SEANetDecoder(dimension=dim, n_filters=num_filters, ratios=list(ratios), norm="none", causal=True)
    )


def make_quantizer(codebooks: Sequence[int], dim: int) -> ResidualVectorQuantizer:
    """The codebooks, whose vectors are buffers: they are read, and no gradient moves them.

    Raises `OmnikitError` for codebooks of different sizes, or none.
    """
    if not codebooks or len(set(codebooks)) > 1 or codebooks[0] < 2:
        raise OmnikitError(f"EnCodec has one or more codebooks of one size; {list(codebooks)} were given.")
    return ResidualVectorQuantizer(dimension=dim, n_q=len(codebooks), bins=codebooks[0], kmeans_init=False)


def vectors_of(quantizer: ResidualVectorQuantizer, codes: Tensor) -> Tensor:
    """Codes [B, K, T] → the sums of their vectors [B, D, T]."""
    return quantizer.decode(codes.transpose(0, 1))


def _normalised(network: Network) -> Network:
    """The network with normalised weights under the names of today's torch, which checkpoints of the old ones fill."""
    for part in list(network.modules()):
        if isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
            parametrizations.weight_norm(part)
    return network
