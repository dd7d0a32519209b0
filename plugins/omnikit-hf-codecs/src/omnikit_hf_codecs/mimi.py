"""`tokenizer/mimi` and `detokenizer/mimi`: Kyutai's Mimi, one semantic codebook and residual acoustic ones.

Letters: B batch, S samples, K codebooks, T units, D width of the codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import MimiConfig, MimiModel
from transformers.models.mimi.modeling_mimi import MimiEuclideanCodebook

from omnikit import DERIVED, Contract
from omnikit.slots.units import check_known
from omnikit_hf_codecs.codec import Codec, books_of, check_books, tidied
from omnikit_hf_codecs.detokenizer import CodecDetokenizer, voice_contract
from omnikit_hf_codecs.tokenizer import CodecTokenizer, codec_contract

SAMPLE_RATE = 24_000
UNTRAINED = "untrained-mimi"
_LAST_STRIDE = 2


class _Codebook(MimiEuclideanCodebook):
    """A codebook that keeps no second copy of its vectors, which `.to` would leave behind."""

    @property
    def embed(self) -> Tensor:
        return self.embed_sum / self.cluster_usage.clamp(min=self.epsilon)[:, None]


class MimiCodec(Codec):
    """The networks of `MimiModel`; a decoder alone where it does not `hear`."""

    def __init__(self, config: MimiConfig, *, hears: bool) -> None:
        super().__init__()
        self.sample_rate, self.hop_size = SAMPLE_RATE, hop_of(config.upsampling_ratios or ())
        self.sizes = (config.codebook_size,) * config.num_quantizers
        model: Any = MimiModel(config)  # whose parts are typed as optional
        for part in model.quantizer.modules():
            if isinstance(part, MimiEuclideanCodebook):
                part.__class__ = _Codebook
                torch.nn.init.normal_(part.embed_sum)
        self.encoder: Any = tidied(model.encoder) if hears else None
        self.quantizer: Any
        self.decoder: Any
        self.quantizer, self.decoder = tidied(model.quantizer).requires_grad_(False), tidied(model.decoder)

    def steps(self, wave: Tensor) -> Tensor:
        """Waves [B, S] → [B, D, T]."""
        assert self.encoder is not None, "a decoder does not hear"
        return self.encoder(wave[:, None]).latents

    def ids(self, steps: Tensor) -> Tensor:
        """[B, D, T] → [B, K, T]."""
        return self.quantizer.encode(steps).transpose(0, 1)

    def vectors(self, codes: Tensor) -> Tensor:
        """[B, K, T] → [B, D, T]."""
        return self.quantizer.decode(codes)

    def sound(self, vectors: Tensor) -> Tensor:
        """[B, D, T] → [B, S]."""
        return self.fitted(self.decoder(vectors).audio_values[:, 0], vectors.shape[-1])


class MimiTokenizer(CodecTokenizer):
    """Mimi's encoder and codebooks: the first id of a step says most of what is said, the others how it sounds.

    Args:
        num_codebooks: 2 to 32 are used, the semantic one among them; Moshi takes 8.
        codebook_size: ids of each, a power of 2.
        dim, code_dim: width of the steps, and of the vectors within the codebooks.
        num_filters: channels of the first layer; every stride doubles them.
        num_layers, heads, ffn_dim: of the transformers in encoder and decoder.
        ratios: strides of the decoder; the encoder has the reverse, and both another stride of 2.
        vocab_id: name of the ids' meaning, set from the weights.

    Contract: 24 kHz mono → `num_codebooks` units of `codebook_size` ids each, 12.5 times a second (causal network).
    Raises: `MediaError` for audio it cannot read, `WeightsError` for units of another vocabulary.
    Ref: Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024 (arXiv 2410.00037),
        section 3.3; the modules are those of `transformers.MimiModel`.
    """

    name = "tokenizer/mimi"

    def __init__(
        self,
        num_codebooks: int = 8,
        codebook_size: int = 2048,
        dim: int = 512,
        code_dim: int = 256,
        num_filters: int = 64,
        num_layers: int = 8,
        heads: int = 8,
        ffn_dim: int = 2048,
        ratios: Sequence[int] = (8, 6, 5, 4),
        vocab_id: str = UNTRAINED,
    ) -> None:
        check_books(num_codebooks, codebook_size, least=2)
        sizes = {"dim": dim, "code_dim": code_dim, "num_filters": num_filters, "num_layers": num_layers}
        config = config_of(num_codebooks, codebook_size, **sizes, heads=heads, ffn_dim=ffn_dim, ratios=list(ratios))
        super().__init__(MimiCodec(config, hears=True), vocab_id)

    @classmethod
    def contract(
        cls, num_codebooks: int, codebook_size: int, ratios: Sequence[int], vocab_id: str, **_: Any
    ) -> Contract:
        """Audio at 24 kHz in, residual units out."""
        return codec_contract(SAMPLE_RATE, hop_of(ratios), (codebook_size,) * num_codebooks, vocab_id, causal=True)


class MimiDetokenizer(CodecDetokenizer):
    """Mimi's decoder. Who speaks, and how, is in the codes: a style is not applicable.

    Args:
        codebooks: sizes of the tokenizer's codebooks, derived in a system.
        vocab_id: the unit vocabulary it was trained for, derived in a system.
        dim, code_dim, num_filters, num_layers, heads, ffn_dim, ratios: as of `tokenizer/mimi`.

    Contract: units of Mimi, 12.5 a second, of two codebooks or more → 24 kHz mono; style is ignored.
    Raises: `OmnikitError` for codebooks that cannot be, `WeightsError` for units of another vocabulary.
    Ref: Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024 (arXiv 2410.00037),
        section 3.3; the modules are those of `transformers.MimiModel`.
    """

    name = "detokenizer/mimi"

    def __init__(
        self,
        codebooks: Sequence[int] = DERIVED,
        vocab_id: str = DERIVED,
        dim: int = 512,
        code_dim: int = 256,
        num_filters: int = 64,
        num_layers: int = 8,
        heads: int = 8,
        ffn_dim: int = 2048,
        ratios: Sequence[int] = (8, 6, 5, 4),
    ) -> None:
        check_known(self.name, codebooks, vocab_id)
        num_codebooks, size = books_of(codebooks)
        check_books(num_codebooks, size, least=2)
        sizes = {"dim": dim, "code_dim": code_dim, "num_filters": num_filters, "num_layers": num_layers}
        config = config_of(num_codebooks, size, **sizes, heads=heads, ffn_dim=ffn_dim, ratios=list(ratios))
        super().__init__(MimiCodec(config, hears=False), vocab_id)

    @classmethod
    def contract(cls, codebooks: Any, vocab_id: Any, ratios: Sequence[int], **_: Any) -> Contract:
        """Units in, audio at 24 kHz out."""
        if isinstance(codebooks, Sequence):  # and not left open
            check_books(*books_of(codebooks), least=2)
        return voice_contract(SAMPLE_RATE, hop_of(ratios), codebooks, vocab_id, causal=True)


def hop_of(ratios: Sequence[int]) -> int:
    """Samples of one unit."""
    return _LAST_STRIDE * math.prod(ratios)


def config_of(
    num_codebooks: int,
    codebook_size: int,
    *,
    dim: int,
    code_dim: int,
    num_filters: int,
    num_layers: int,
    heads: int,
    ffn_dim: int,
    ratios: list[int],
) -> MimiConfig:
    """The configuration of these sizes; what they leave open is as published."""
    return MimiConfig(
        num_quantizers=num_codebooks,
        codebook_size=codebook_size,
        hidden_size=dim,
        codebook_dim=code_dim,
        vector_quantization_hidden_dimension=code_dim,
        upsample_groups=dim,
        num_filters=num_filters,
        num_hidden_layers=num_layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=ffn_dim,
        upsampling_ratios=ratios,
    )


def sizes_of(config: MimiConfig) -> dict[str, Any]:
    """The sizes of `tokenizer/mimi` in a configuration, without its codebooks."""
    return {
        "codebook_size": config.codebook_size,
        "dim": config.hidden_size,
        "code_dim": config.codebook_dim,
        "num_filters": config.num_filters,
        "num_layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "ffn_dim": config.intermediate_size,
        "ratios": list(config.upsampling_ratios or ()),
    }
