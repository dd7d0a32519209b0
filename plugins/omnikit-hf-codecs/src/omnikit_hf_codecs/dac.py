"""`tokenizer/dac` and `detokenizer/dac`: Descript's Audio Codec, residual codebooks of few dimensions.

Letters: B batch, S samples, K codebooks, T units, D width of the codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DacConfig, DacModel

from omnikit import DERIVED, Contract
from omnikit.errors import OmnikitError
from omnikit.slots.units import check_known
from omnikit_hf_codecs.codec import Codec, books_of, check_books, tidied
from omnikit_hf_codecs.detokenizer import CodecDetokenizer, voice_contract
from omnikit_hf_codecs.tokenizer import CodecTokenizer, codec_contract

UNTRAINED = "untrained-dac"


class DacCodec(Codec):
    """The networks of `DacModel`; a decoder alone where it does not `hear`. Sound is filled up to whole units."""

    def __init__(self, config: DacConfig, *, hears: bool) -> None:
        super().__init__()
        self.sample_rate, self.hop_size = config.sampling_rate, math.prod(config.downsampling_ratios)
        self.sizes = (config.codebook_size,) * config.n_codebooks
        model = DacModel(config)
        self.encoder: Any = tidied(model.encoder) if hears else None
        self.quantizer: Any
        self.decoder: Any
        self.quantizer, self.decoder = tidied(model.quantizer).requires_grad_(False), tidied(model.decoder)

    def steps(self, wave: Tensor) -> Tensor:
        """Waves [B, S] → [B, D, T]."""
        assert self.encoder is not None, "a decoder does not hear"
        return self.encoder(self.whole(wave)[:, None])

    def ids(self, steps: Tensor) -> Tensor:
        """[B, D, T] → [B, K, T]."""
        residual, found = steps, []
        for book in self.quantizer.quantizers:
            codes, ids = book.decode_latents(book.in_proj(residual))
            residual = residual - book.out_proj(codes)
            found.append(ids)  # [B, T]
        return torch.stack(found, dim=1)

    def vectors(self, codes: Tensor) -> Tensor:
        """[B, K, T] → [B, D, T]."""
        return self.quantizer.from_codes(codes)[0]

    def sound(self, vectors: Tensor) -> Tensor:
        """[B, D, T] → [B, S]."""
        return self.fitted(self.decoder(vectors)[:, 0], vectors.shape[-1])


class DacTokenizer(CodecTokenizer):
    """DAC's encoder and codebooks, which look for the nearest direction in a few dimensions.

    Args:
        num_codebooks: how many are used; the published models have 12 (16 kHz), 32 (24 kHz) and 9 (44.1 kHz).
        codebook_size: ids of each, a power of 2.
        code_dim: dimensions in which ids are looked up.
        encoder_dim, decoder_dim: channels of the encoder's first and of the decoder's first layer.
        ratios: strides of the encoder, of which the decoder has the reverse.
        sample_rate: of the audio in Hz.
        vocab_id: name of the ids' meaning, set from the weights.

    Contract: mono audio at `sample_rate` → `num_codebooks` units of `codebook_size` ids each, 50 times a second at the
        defaults. Offline: the network sees both sides.
    Raises: `MediaError` for audio it cannot read, `WeightsError` for units of another vocabulary.
    Ref: Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023 (arXiv 2306.06546); the
        modules are those of `transformers.DacModel`.
    """

    name = "tokenizer/dac"

    def __init__(
        self,
        num_codebooks: int = 12,
        codebook_size: int = 1024,
        code_dim: int = 8,
        encoder_dim: int = 64,
        decoder_dim: int = 1536,
        ratios: Sequence[int] = (2, 4, 5, 8),
        sample_rate: int = 16_000,
        vocab_id: str = UNTRAINED,
    ) -> None:
        check_books(num_codebooks, codebook_size)
        sizes = {"code_dim": code_dim, "encoder_dim": encoder_dim, "decoder_dim": decoder_dim}
        config = config_of(num_codebooks, codebook_size, **sizes, ratios=list(ratios), sample_rate=sample_rate)
        super().__init__(DacCodec(config, hears=True), vocab_id)

    @classmethod
    def contract(
        cls, num_codebooks: int, codebook_size: int, ratios: Sequence[int], sample_rate: int, vocab_id: str, **_: Any
    ) -> Contract:
        """Audio in, residual units out."""
        return codec_contract(sample_rate, math.prod(ratios), (codebook_size,) * num_codebooks, vocab_id, causal=False)


class DacDetokenizer(CodecDetokenizer):
    """DAC's decoder. Who speaks, and how, is in the codes: a style is not applicable.

    Args:
        codebooks: sizes of the tokenizer's codebooks, derived in a system.
        vocab_id: the unit vocabulary it was trained for, derived in a system.
        code_dim, encoder_dim, decoder_dim, ratios, sample_rate: as of `tokenizer/dac`.

    Contract: units of DAC → mono audio at `sample_rate`; style is ignored.
    Raises: `WeightsError` for units of another vocabulary.
    Ref: Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023 (arXiv 2306.06546); the
        modules are those of `transformers.DacModel`.
    """

    name = "detokenizer/dac"

    def __init__(
        self,
        codebooks: Sequence[int] = DERIVED,
        vocab_id: str = DERIVED,
        code_dim: int = 8,
        encoder_dim: int = 64,
        decoder_dim: int = 1536,
        ratios: Sequence[int] = (2, 4, 5, 8),
        sample_rate: int = 16_000,
    ) -> None:
        check_known(self.name, codebooks, vocab_id)
        num_codebooks, size = books_of(codebooks)
        check_books(num_codebooks, size)
        sizes = {"code_dim": code_dim, "encoder_dim": encoder_dim, "decoder_dim": decoder_dim}
        config = config_of(num_codebooks, size, **sizes, ratios=list(ratios), sample_rate=sample_rate)
        super().__init__(DacCodec(config, hears=False), vocab_id)

    @classmethod
    def contract(cls, codebooks: Any, vocab_id: Any, ratios: Sequence[int], sample_rate: int, **_: Any) -> Contract:
        """Units in, audio out."""
        return voice_contract(sample_rate, math.prod(ratios), codebooks, vocab_id, causal=False)


def config_of(
    num_codebooks: int,
    codebook_size: int,
    *,
    code_dim: int,
    encoder_dim: int,
    decoder_dim: int,
    ratios: list[int],
    sample_rate: int,
) -> DacConfig:
    """The configuration of these sizes. Raises `OmnikitError` for a decoder whose channels cannot be halved."""
    if not ratios or min(ratios) < 2 or decoder_dim % 2 ** len(ratios):
        raise OmnikitError(
            f"DAC with ratios {ratios} and decoder_dim {decoder_dim} cannot be: every stride is 2 or more and halves\n"
            f"the decoder's channels, so decoder_dim must be a multiple of {2 ** len(ratios)}."
        )
    return DacConfig(
        n_codebooks=num_codebooks,
        codebook_size=codebook_size,
        codebook_dim=code_dim,
        encoder_hidden_size=encoder_dim,
        decoder_hidden_size=decoder_dim,
        downsampling_ratios=ratios,
        sampling_rate=sample_rate,
    )


def sizes_of(config: DacConfig) -> dict[str, Any]:
    """The sizes of `tokenizer/dac` in a configuration, without its codebooks."""
    return {
        "codebook_size": config.codebook_size,
        "code_dim": config.codebook_dim,
        "encoder_dim": config.encoder_hidden_size,
        "decoder_dim": config.decoder_hidden_size,
        "ratios": list(config.downsampling_ratios),
        "sample_rate": config.sampling_rate,
    }
