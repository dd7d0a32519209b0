"""Speech encoders of the transformers library: HuBERT, wav2vec 2.0, WavLM and Whisper, published or small and random.

Letters: B batch, S samples, T steps, D width, M mel bands, W windows. transformers is imported inside the functions,
as it takes seconds.

Ref: Hsu et al., "HuBERT", IEEE/ACM TASLP 2021; Baevski et al., "wav2vec 2.0", NeurIPS 2020; Chen et al., "WavLM",
IEEE JSTSP 2022; Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023 (Whisper).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.errors import OmnikitError, unknown_name
from omnikit.nn.mel import mel_filter_bank
from omnikit.nn.spiral import valid_steps

NONE = "none"
SAMPLE_RATE = 16_000
HOP_SIZE = 320
FAMILIES = ("hubert", "wav2vec2", "wavlm", "whisper")
_POSITION_GROUPS = 16
_MEL_HOP = 160
_MEL_FFT = 400


@dataclass(frozen=True)
class HFSpeechSizes:
    """A published encoder, or the sizes of a random one.

    `pretrained` is `none`, or the name or folder of a published model (a folder without weight files gives the
    architecture alone). `dim` is the width, of a published model too, which is checked; its other sizes are its own.
    `conv_dim` are the channels of the convolutions, which Whisper has not. `layer` is the transformer block whose
    output is given, after the final norm where the model has one; negative counts from the end, and later blocks are
    not built. `stride` steps are averaged into one.
    """

    pretrained: str = NONE
    family: str = "hubert"
    dim: int = 256
    layers: int = 4
    heads: int = 4
    ffn_dim: int = 1024
    conv_dim: int = 128
    layer: int = -1
    stride: int = 1


@dataclass(frozen=True)
class HFSpeechFacts:
    """What a contract says of an encoder: width, and the rate of its steps in Hz."""

    dim: int
    rate: Fraction


def facts_of(sizes: HFSpeechSizes) -> HFSpeechFacts:
    """Width and rate by arithmetic: every model of these families makes a step of 320 samples.

    Raises `OmnikitError` for sizes that do not fit each other.
    """
    if sizes.stride < 1:
        raise OmnikitError(f"stride is {sizes.stride}; give 1 (every step) or more (so many are averaged).")
    if sizes.pretrained == NONE:
        if sizes.family not in FAMILIES:
            raise unknown_name("family of speech encoders", sizes.family, FAMILIES)
        if sizes.dim % sizes.heads or (sizes.family != "whisper" and sizes.dim % _POSITION_GROUPS):
            raise OmnikitError(
                f"A {sizes.family} of width {sizes.dim} with {sizes.heads} heads cannot be.\n"
                f"The heads must divide the width, and so must {_POSITION_GROUPS} (groups of its position convolution)."
            )
        _num_kept(sizes.layer, sizes.layers)
    return HFSpeechFacts(sizes.dim, Fraction(SAMPLE_RATE, HOP_SIZE * sizes.stride))


class HFSpeech(nn.Module):
    """Waveforms at 16 kHz → steps of a transformers encoder; a row of a batch has the steps of the row alone.

    A row gives the steps that transformers gives it alone. The convolutional families need 400 samples for a step
    (shorter rows are filled up with zeros); Whisper hears windows of 30 s, filled up with silence, and longer rows one
    window after another. SpecAugment and layer drop of published configurations are switched off: they draw from
    numpy's global generator, and leave weights without a gradient.
    """

    def __init__(self, sizes: HFSpeechSizes) -> None:
        super().__init__()
        facts = facts_of(sizes)
        self.dim, self.rate, self.stride = facts.dim, facts.rate, sizes.stride
        self.config = _random_config(sizes) if sizes.pretrained == NONE else _published_config(sizes)
        self.normalises = sizes.pretrained == NONE or _normalises(sizes.pretrained)
        config = _trimmed(self.config, sizes.layer)
        source = None if sizes.pretrained == NONE else sizes.pretrained
        self.is_published = source is not None
        self.front: WhisperMel | None = None
        if config.model_type == "whisper":
            self.front = WhisperMel(config.num_mel_bins, config.max_source_positions * HOP_SIZE // _MEL_HOP)
        self.model = _model(config, source)

    def forward(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waves [B, S] with `lengths` [B] >= 1 → steps [B, T, D] up to the longest row, and their lengths [B]."""
        wave = wave * valid_steps(lengths, wave.shape[1])
        x, steps = self._windows(wave, lengths) if self.front is not None else self._convolved(wave, lengths)
        x = x[:, : int(steps.max())]
        return _averaged(x, steps, self.stride) if self.stride > 1 else (x, steps)

    def num_steps(self, num_samples: int) -> int:
        """Steps T of a recording of so many samples, by arithmetic."""
        if self.front is not None:
            steps = -(-num_samples // HOP_SIZE)
        else:
            kernels, strides = self.config.conv_kernel, self.config.conv_stride
            steps = max(num_samples, _reach(kernels, strides))
            for kernel, stride in zip(kernels, strides, strict=True):
                steps = (steps - kernel) // stride + 1
        return -(-steps // self.stride)

    def save_architecture(self, folder: Path) -> None:
        """Write what is needed to build the same model again without a network: its configuration, no weights."""
        from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

        self.config.save_pretrained(folder)
        extractor = (
            WhisperFeatureExtractor(feature_size=self.config.num_mel_bins)
            if self.front is not None
            else Wav2Vec2FeatureExtractor(do_normalize=self.normalises)
        )
        extractor.save_pretrained(folder)

    def _convolved(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """HuBERT, wav2vec 2.0, WavLM: convolutions on samples, then a transformer within each row's steps."""
        if self.normalises:
            wave = _standardised(wave, lengths)
        reach = _reach(self.config.conv_kernel, self.config.conv_stride)
        wave = functional.pad(wave, (0, max(0, reach - wave.shape[1])))
        lengths = lengths.clamp(min=reach)
        x = wave[:, None]  # [B, 1, S]
        for layer in self.model.feature_extractor.conv_layers:
            lengths = (lengths - layer.conv.kernel_size[0]).div(layer.conv.stride[0], rounding_mode="floor") + 1
            if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
                x = layer.activation(_norm_over_time(layer.conv(x), lengths, layer.layer_norm))
            else:
                x = layer(x)
        x = x[..., : int(lengths.max())].transpose(1, 2)  # [B, T, C]
        projected = self.model.feature_projection(x)
        x = projected[0] if isinstance(projected, tuple) else projected  # wav2vec 2.0 gives its input's norm too
        mask = valid_steps(lengths, x.shape[1])
        return self.model.encoder(x, attention_mask=mask).last_hidden_state, lengths

    def _windows(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Whisper: windows of 30 s, each for itself, laid end to end again."""
        assert self.front is not None
        size = self.front.num_frames * _MEL_HOP
        num_windows = -(-wave.shape[1] // size)
        windows = functional.pad(wave, (0, num_windows * size - wave.shape[1])).unflatten(1, (num_windows, size))
        starts = torch.arange(num_windows, device=wave.device) * size
        held = starts < lengths[:, None]  # [B, W]: windows in which the row has sound
        mel = self.front(windows[held])  # [number held, M, T]
        found = self.model(mel).last_hidden_state  # [number held, T, D]
        x = found.new_zeros(*held.shape, *found.shape[1:])
        x[held] = found
        return x.flatten(1, 2), (lengths + HOP_SIZE - 1).div(HOP_SIZE, rounding_mode="floor")


class WhisperMel(nn.Module):
    """The log-mel front end of Whisper for windows of `num_frames` frames.

    Hann window of 25 ms every 10 ms, power, Slaney mel bands up to 8 kHz, log10 above 1e-10 and within 8 decades of the
    window's largest value, then (x + 4) / 4. Ref: Radford et al., ICML 2023, section 2.2.
    """

    bank: Tensor
    window: Tensor

    def __init__(self, num_mels: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        bank = mel_filter_bank(SAMPLE_RATE, _MEL_FFT, num_mels, 0.0, SAMPLE_RATE / 2)
        self.register_buffer("bank", bank, persistent=False)  # [M, F]
        self.register_buffer("window", torch.hann_window(_MEL_FFT), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """Mel frames [B, M, T] of waves [B, T · 160]."""
        with torch.autocast(wave.device.type, enabled=False):
            spectrum = torch.stft(
                wave.float(), _MEL_FFT, _MEL_HOP, window=self.window, return_complex=True
            )  # [B, F, T + 1]
            power = spectrum[..., :-1].abs().square()
            mel = torch.log10(torch.matmul(self.bank, power).clamp(min=1e-10))
            return (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def _standardised(wave: Tensor, lengths: Tensor) -> Tensor:
    """Waves [B, S] with zero mean and unit deviation over each row's samples, zeros beyond them."""
    valid, count = valid_steps(lengths, wave.shape[1]), lengths[:, None]
    centred = (wave - wave.sum(1, keepdim=True) / count) * valid
    return centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()


def _norm_over_time(x: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
    """The group norm of x [B, C, T], one group a channel, with statistics of each row's own steps."""
    with torch.autocast(x.device.type, enabled=False):
        wide = x.float()
        valid, count = valid_steps(lengths, x.shape[-1])[:, None], lengths[:, None, None]
        centred = wide - (wide * valid).sum(-1, keepdim=True) / count
        variance = (centred.square() * valid).sum(-1, keepdim=True) / count
        wide = centred * torch.rsqrt(variance + norm.eps)
        return (wide * norm.weight[:, None] + norm.bias[:, None]).to(x.dtype)


def _averaged(x: Tensor, lengths: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Means of `stride` steps of x [B, T, D], of those that the row has: [B, ceil(T / stride), D] and lengths."""
    valid = valid_steps(lengths, x.shape[1])[..., None].to(x.dtype)
    missing = -x.shape[1] % stride
    x, valid = (functional.pad(item, (0, 0, 0, missing)).unflatten(1, (-1, stride)) for item in (x * valid, valid))
    lengths = (lengths + stride - 1).div(stride, rounding_mode="floor")
    return x.sum(2) / valid.sum(2).clamp(min=1), lengths


def _reach(kernels: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Samples that one step of a chain of convolutions sees."""
    reach = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        reach = (reach - 1) * stride + kernel
    return reach


def _num_kept(layer: int, num_layers: int) -> int:
    if not -num_layers <= layer < num_layers:
        raise OmnikitError(
            f"layer {layer} does not exist; the encoder has {num_layers} blocks (0 to {num_layers - 1})."
        )
    return layer % num_layers + 1


def _random_config(sizes: HFSpeechSizes) -> Any:
    """A configuration of the family: layer-normed and pre-norm, which trains from scratch."""
    from transformers import AutoConfig

    if sizes.family == "whisper":
        return AutoConfig.for_model(
            "whisper",
            d_model=sizes.dim,
            encoder_layers=sizes.layers,
            encoder_attention_heads=sizes.heads,
            encoder_ffn_dim=sizes.ffn_dim,
        )
    return AutoConfig.for_model(
        sizes.family,
        hidden_size=sizes.dim,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.ffn_dim,
        conv_dim=[sizes.conv_dim] * 7,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embedding_groups=_POSITION_GROUPS,
    )


def _published_config(sizes: HFSpeechSizes) -> Any:
    """The configuration of a published model, if it is one that this file can run."""
    from transformers import AutoConfig

    source = sizes.pretrained
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise _not_loaded(source, error) from error
    if config.model_type not in FAMILIES:
        raise unknown_name(f"family of speech encoders ('{source}')", config.model_type, FAMILIES)
    if config.hidden_size != sizes.dim:
        raise OmnikitError(f"{source} is {config.hidden_size} wide, not {sizes.dim}: set dim={config.hidden_size}.")
    if config.model_type != "whisper" and math.prod(config.conv_stride) != HOP_SIZE:
        raise OmnikitError(f"{source} makes a step of {math.prod(config.conv_stride)} samples; {HOP_SIZE} are run.")
    if getattr(config, "conv_pos_batch_norm", False) or getattr(config, "add_adapter", False):
        raise OmnikitError(
            f"{source} normalises over the batch or adapts its rate (conv_pos_batch_norm, add_adapter): a row of a\n"
            "batch would not have the features of the row alone. Choose a model without them."
        )
    return config


def _normalises(source: str) -> bool:
    """Whether a published model was trained on waves of unit deviation."""
    from transformers import AutoFeatureExtractor

    try:
        extractor = AutoFeatureExtractor.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise _not_loaded(source, error) from error
    if extractor.sampling_rate != SAMPLE_RATE:
        raise OmnikitError(f"{source} hears audio at {extractor.sampling_rate} Hz; models at {SAMPLE_RATE} Hz are run.")
    return bool(getattr(extractor, "do_normalize", False))  # Whisper has its own front end


def _trimmed(config: Any, layer: int) -> Any:
    """The configuration without the blocks behind `layer`, and without training noise that needs a global generator."""
    config = copy.deepcopy(config)
    if config.model_type == "whisper":
        config.encoder_layers = _num_kept(layer, config.encoder_layers)
        config.encoder_layerdrop = 0.0
        return config
    config.num_hidden_layers = _num_kept(layer, config.num_hidden_layers)
    config.layerdrop = config.mask_time_prob = config.mask_feature_prob = 0.0
    config.apply_spec_augment = False
    return config


def _model(config: Any, source: str | None) -> nn.Module:
    """The encoder of a configuration, with published weights where `source` has them, in float32."""
    from transformers import AutoModel, WhisperModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    folder = Path(source) if source else None
    has_weights = folder is not None and (
        not folder.is_dir() or any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    )
    if not has_weights:
        return WhisperEncoder(config) if config.model_type == "whisper" else AutoModel.from_config(config)
    try:
        if config.model_type == "whisper":
            return WhisperModel.from_pretrained(source, config=config, dtype=torch.float32).encoder
        return AutoModel.from_pretrained(source, config=config, dtype=torch.float32)
    except OSError as error:
        raise _not_loaded(str(source), error) from error


def _not_loaded(source: str, error: Exception) -> OmnikitError:
    reason = str(error).strip().splitlines()[0]
    return OmnikitError(
        f"The speech encoder '{source}' could not be loaded: {reason}\nCheck its name or folder, and the network."
    )
