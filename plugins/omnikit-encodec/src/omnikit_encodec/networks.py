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

from omnikit.errors import ContractError, DataError, OmnikitError, WeightsError
from omnikit.types import Units

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


def own_codes(units: Units, sizes: Sequence[int], vocab_id: str, owner: str) -> Tensor:
    """The codes [B, K, T] of units of this vocabulary.

    Raises `WeightsError` for another vocabulary, `ContractError` for other codebooks or another layout, `DataError` for
    an empty row or an id out of range.
    """
    if units.vocab_id != vocab_id:
        raise WeightsError(
            f"The units are of vocabulary '{units.vocab_id}', {owner} has '{vocab_id}'.\n"
            "Ids of two codecs mean different sounds; take tokenizer and detokenizer of the same weights."
        )
    if tuple(units.sizes) != tuple(sizes) or units.layout != "frame":
        raise ContractError(
            f"The units are ids of {list(units.sizes)} in layout '{units.layout}'; "
            f"{owner} takes {list(sizes)} in layout 'frame'."
        )
    steps = units.codes.shape[-1]
    if not len(units.lengths) or int(units.lengths.min()) < 1 or int(units.lengths.max()) > steps:
        raise DataError(f"Every row needs 1 to {steps} units; their lengths are {units.lengths.tolist()}.")
    lowest, highest = int(units.codes.min()), int(units.codes.max())
    if lowest < 0 or highest >= sizes[0]:
        raise DataError(f"Unit ids of {owner} lie in 0 to {sizes[0] - 1}, padding is 0; {lowest} to {highest} came.")
    return units.codes


def _normalised(network: Network) -> Network:
    """The network with normalised weights under the names of today's torch, which checkpoints of the old ones fill."""
    for part in list(network.modules()):
        if isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
            parametrizations.weight_norm(part)
    return network
