"""Whisper's encoder cut in the middle, and what learns to write a text from the units: its other half and a decoder.

The blocks are those of transformers. Attention is masked, so that a row of a batch is what it is alone; nothing is
filled up to Whisper's 30 s.

Letters: B batch, S samples, M mel bands, F mel frames, T steps, D width, N labels, V classes.

Ref: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023 (Whisper), section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, WhisperConfig, WhisperModel
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer, WhisperEncoder

from omnikit.errors import OmnikitError
from omnikit.nn.hf_speech import SAMPLE_RATE, WhisperMel
from omnikit.nn.spiral import valid_steps
from omnikit_s3.sizes import NONE, DecoderSizes, ModelSizes, check_cut, check_split

MEL_HOP = 160
WINDOW_S = 30
"""What is read at once: Whisper's positions end here at 50 Hz."""
_MEL_ROOM = 2
"""Frames of silence behind a row: more than a window of the spectrum reaches."""


class LowerHalf(nn.Module):
    """Waveforms → steps: log-mels, two convolutions, the blocks before the units, and a norm as an encoder ends in.

    The first convolution takes every second frame where 25 steps a second are wanted, the second always does.
    """

    places: Tensor

    def __init__(self, encoder: WhisperEncoder, rate: int, cut: int, is_published: bool = False) -> None:
        super().__init__()
        self.config, self.is_published = encoder.config, is_published
        self.front = WhisperMel(encoder.num_mel_bins, WINDOW_S * SAMPLE_RATE // MEL_HOP)
        self.conv1, self.conv2 = encoder.conv1, encoder.conv2
        self.conv1.stride = (50 // rate,)
        self.register_buffer("places", encoder.embed_positions.weight.detach().clone(), persistent=False)  # [T, D]
        self.blocks = nn.ModuleList(encoder.layers[:cut])
        self.norm = nn.LayerNorm(encoder.config.d_model)

    def forward(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waves [B, S] with `lengths` [B] of 1 sample to 30 s → steps [B, T, D] and their lengths [B]."""
        mel, lengths = self._mel(wave, lengths)
        x = functional.gelu(self.conv1(mel))  # [B, D, F]
        lengths = _halved(lengths) if self.conv1.stride[0] == 2 else lengths
        x = functional.gelu(self.conv2(x * valid_steps(lengths, x.shape[-1])[:, None])).transpose(1, 2)  # [B, T, D]
        lengths = _halved(lengths)
        return self.norm(through(self.blocks, x, valid_steps(lengths, x.shape[1]), self.places)), lengths

    def save_architecture(self, folder: Path) -> None:
        """Write what is needed to build the whole encoder again without a network: its configuration."""
        self.config.save_pretrained(folder)

    def _mel(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mel frames [B, M, F], zero beyond each row, and the frames of every row [B]."""
        frames = (lengths + MEL_HOP - 1).div(MEL_HOP, rounding_mode="floor")
        longest = int(frames.max())
        room = (longest + _MEL_ROOM) * MEL_HOP - wave.shape[1]
        padded = functional.pad(wave * valid_steps(lengths, wave.shape[1]), (0, room))
        mel = self.front(padded)[..., :longest]
        return mel * valid_steps(frames, longest)[:, None], frames


class Recogniser(nn.Module):
    """Vectors of units → a text: the blocks behind the units, and a decoder that attends to them.

    It is there to teach the units what is said. Positions are added anew, as units know none.
    """

    places: Tensor

    def __init__(self, encoder: WhisperEncoder, cut: int, sizes: DecoderSizes, num_classes: int) -> None:
        super().__init__()
        width, self.num_classes, self.max_labels = encoder.config.d_model, num_classes, sizes.max_labels
        self.register_buffer("places", encoder.embed_positions.weight.detach().clone(), persistent=False)  # [T, D]
        self.blocks, self.norm = nn.ModuleList(encoder.layers[cut:]), encoder.layer_norm
        config = _configured(
            d_model=width,
            decoder_attention_heads=sizes.heads,
            decoder_ffn_dim=sizes.ffn_dim,
            dropout=sizes.dropout,
        )
        self.embedding = nn.Embedding(num_classes + 1, width)  # the last one begins a text
        self.label_places = nn.Embedding(sizes.max_labels + 1, width)
        self.decoder = nn.ModuleList(WhisperDecoderLayer(config, index) for index in range(sizes.layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, num_classes + 1)  # the last one ends it

    def forward(self, vectors: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
        """Scores [B, N + 1, V + 1] of each next label, from vectors [B, T, D] (`valid` [B, T]) and labels [B, N]."""
        heard = self.heard(vectors, valid)
        begin = labels.new_full((len(labels), 1), self.num_classes)
        x = self.embedding(torch.cat([begin, labels], 1)) + self.label_places.weight[: labels.shape[1] + 1]
        size = x.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool, device=x.device).tril()[None, None]  # [1, 1, N + 1, N + 1]
        across = valid[:, None, None].expand(-1, 1, size, -1)  # [B, 1, N + 1, T]
        for block in self.decoder:
            x = block(x, causal, heard, across, use_cache=False)
        return self.scores(self.decoder_norm(x))

    def heard(self, vectors: Tensor, valid: Tensor) -> Tensor:
        """What the decoder attends to [B, T, D]."""
        return self.norm(through(self.blocks, vectors, valid, self.places))

    def read(self, vectors: Tensor, valid: Tensor) -> list[list[int]]:
        """The likeliest next label again and again, until the text ends or has as many labels as the row has steps."""
        heard, across = self.heard(vectors, valid), valid[:, None, None]
        limits = valid.sum(1).clamp(max=self.max_labels)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        last = torch.full((len(valid), 1), self.num_classes, device=valid.device)
        ended, found = torch.zeros_like(limits, dtype=torch.bool), []
        for place in range(int(limits.max())):
            x = self.embedding(last) + self.label_places.weight[place]
            for block in self.decoder:
                x = block(x, None, heard, across, past_key_values=cache)
            last = self.scores(self.decoder_norm(x)).argmax(-1)  # [B, 1]
            ended = ended | (last[:, 0] == self.num_classes) | (place >= limits)
            if bool(ended.all()):
                break
            found.append(last[:, 0].masked_fill(ended, self.num_classes))
        rows = torch.stack(found, 1).tolist() if found else [[] for _ in valid]
        return [[label for label in row if label != self.num_classes] for row in rows]


def through(blocks: Iterable[nn.Module], x: Tensor, valid: Tensor, places: Tensor) -> Tensor:
    """Steps x [B, T, D] with their places added, through blocks that attend to `valid` [B, T] steps alone."""
    x = x + places[: x.shape[1]]
    across = valid[:, None, None].expand(-1, 1, x.shape[1], -1)  # [B, 1, T, T]
    for block in blocks:
        x = block(x, across)
    return x


def make_encoder(sizes: ModelSizes) -> WhisperEncoder:
    """A whole encoder of Whisper: published (from a folder without weights its architecture alone), or random.

    Raises `OmnikitError` for a model that cannot be had, is none, or has too few blocks for the cut.
    """
    if sizes.pretrained == NONE:
        return WhisperEncoder(
            _configured(
                num_mel_bins=sizes.num_mels,
                d_model=sizes.dim,
                encoder_layers=sizes.layers,
                encoder_attention_heads=sizes.heads,
                encoder_ffn_dim=sizes.ffn_dim,
                dropout=sizes.dropout,
            )
        )
    try:
        config = AutoConfig.from_pretrained(sizes.pretrained)
        if config.model_type != "whisper":
            raise OmnikitError(f"{sizes.pretrained} is a {config.model_type}, no Whisper; name another model.")
        check_cut(sizes.cut, config.encoder_layers)
        config.dropout, config._attn_implementation = sizes.dropout, "sdpa"
        if not _has_weights(sizes.pretrained):
            return WhisperEncoder(config)
        return WhisperModel.from_pretrained(sizes.pretrained, config=config, dtype=torch.float32).encoder
    except OSError as error:
        raise OmnikitError(
            f"The model '{sizes.pretrained}' could not be loaded: {str(error).strip().splitlines()[0]}\n"
            "Check its name or folder, and the network."
        ) from error


def make_recogniser(encoder: WhisperEncoder, cut: int, sizes: DecoderSizes, num_classes: int) -> Recogniser:
    """The other half of an encoder and a new decoder. Raises `OmnikitError` for heads that do not divide its width."""
    check_split(encoder.config.d_model, sizes.heads, "decoder.heads")
    return Recogniser(encoder, cut, sizes, num_classes)


def _has_weights(source: str) -> bool:
    folder = Path(source)
    return not folder.is_dir() or any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))


def _configured(**sizes: Any) -> WhisperConfig:
    """A configuration whose weights start as wide as their inputs ask for, with attention that takes masks."""
    config = WhisperConfig(**sizes, init_std=sizes["d_model"] ** -0.5)
    config._attn_implementation = "sdpa"
    return config


def _halved(lengths: Tensor) -> Tensor:
    """Steps that a convolution of stride 2 makes."""
    return (lengths + 1).div(2, rounding_mode="floor")
