"""The speech tokenizer written the plain way: the formulas one by one in eager PyTorch, with the weights of ours.

The baseline of `bench/tokenizer.py`. Nothing here is slow on purpose: attention is two products and a softmax, linear
layers and convolutions are the ordinary calls, and the front end is the published one (a magnitude that is squared
again, statistics row by row). Weight normalisation is computed where it is used, as the published code does.

Letters: B batch, S samples, M mel bands, F frequency bins, T steps, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]


def log_mel(wave: Tensor, lengths: Tensor, bank: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised log-mel frames [B, M, T] of waves [B, S], T padded to a multiple of 16, and valid frames [B]."""
    wave = wave / (wave.abs().max(dim=1, keepdim=True).values + 1e-5)
    wave = torch.cat([wave[:, :1], wave[:, 1:] - 0.97 * wave[:, :-1]], dim=1)
    spectrum = torch.stft(wave, 512, 160, 320, window, center=True, pad_mode="reflect", return_complex=True)
    power = torch.sqrt(spectrum.real**2 + spectrum.imag**2) ** 2.0  # [B, F, T]
    mel = torch.log(torch.matmul(bank, power) + 2.0**-24)
    frames = torch.ceil(lengths / 160).long()
    normalised = torch.zeros_like(mel)
    for row, count in enumerate(frames.tolist()):
        valid = mel[row, :, :count]
        spread = valid.std(dim=1, keepdim=True) + 1e-5
        normalised[row, :, :count] = (valid - valid.mean(dim=1, keepdim=True)) / spread
    return functional.pad(normalised, (0, -normalised.shape[-1] % 16)), frames


class PlainTokenizer:
    """Waveform → unit ids, one utterance or a padded batch, from a state dict of `tokenizer/spiral_fsq`."""

    def __init__(self, weights: Weights, heads: tuple[int, int], dtype: torch.dtype = torch.float32) -> None:
        self.heads, self.dtype = heads, dtype
        self.bank, self.window = (weights[f"encoder.wav2spec.featurizer.{name}"] for name in ("fb", "window"))
        self.levels = weights["quantizer._levels_np"]
        start = "encoder.feature_encoder.block_modules."
        self.blocks = {name.removeprefix(start): value.to(dtype) for name, value in weights.items() if start in name}
        self.bottleneck = weights["pre_quant.weight"], weights["pre_quant.bias"]

    @torch.no_grad()
    def encode(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Unit ids [B, T] of waves [B, S], and how many of them are valid [B]."""
        x, lengths = log_mel(wave, lengths, self.bank, self.window)
        x = x.to(self.dtype)  # [B, M, T]
        for index, stride in ((0, 2), (1, 2), (2, 1)):
            x, lengths = self._conv(x, lengths, index, stride)
        x = self._transformer(x, lengths, 3, self.heads[0])
        for index in (4, 5):
            x, lengths = self._conv(x, lengths, index, 1)
        x = self._transformer(x, lengths, 6, self.heads[1])
        return self._ids(functional.linear(x.transpose(1, 2).float(), *self.bottleneck)), lengths

    def _ids(self, z: Tensor) -> Tensor:
        half = (self.levels - 1) * (1 - 1e-3) / 2
        offset = torch.where(self.levels % 2 == 1, 0.0, 0.5)
        bounded = torch.tanh(z + torch.tan(offset / half)) * half - offset
        width = self.levels // 2
        codes = torch.round(bounded) / width
        basis = torch.cumprod(torch.cat([torch.ones(1), self.levels[:-1]]), 0)
        return ((codes * width + width) * basis).sum(-1).to(torch.int32)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self.blocks[f"{name}.weight"]
        return functional.layer_norm(x, weight.shape, weight, self.blocks[f"{name}.bias"])

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self.blocks[f"{name}.weight"], self.blocks[f"{name}.bias"])

    def _conv(self, x: Tensor, lengths: Tensor, index: int, stride: int) -> tuple[Tensor, Tensor]:
        """Convolution → layer norm → ReLU (none behind a kernel of one tap): x [B, D, T]."""
        weight = self.blocks[f"{index}.conv.conv.weight"]
        taps = weight.shape[-1]
        if taps > 1:
            x = x * (torch.arange(x.shape[-1]) < lengths[:, None])[:, None]
            x = functional.pad(x, ((taps - stride) // 2, taps - stride - (taps - stride) // 2))
        x = functional.conv1d(x, weight, self.blocks[f"{index}.conv.conv.bias"], stride)
        x = self._norm(x.transpose(1, 2), f"{index}.norm").transpose(1, 2)
        return (torch.relu(x) if taps > 1 else x), (lengths + stride - 1) // stride

    def _transformer(self, x: Tensor, lengths: Tensor, index: int, num_heads: int) -> Tensor:
        """Position convolution, pre-norm layers, layer norm: x [B, D, T]."""
        valid = torch.arange(x.shape[-1]) < lengths[:, None]
        x = x * valid[:, None]
        gain, direction = (self.blocks[f"{index}.pos_conv.0.weight_{part}"] for part in "gv")
        weight = gain * direction / torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True)
        groups = x.shape[1] // weight.shape[1]
        place = functional.conv1d(
            x, weight, self.blocks[f"{index}.pos_conv.0.bias"], padding=weight.shape[-1] // 2, groups=groups
        )
        x = (x + functional.gelu(place[..., :-1])).transpose(1, 2)  # [B, T, D]
        layer = 0
        while f"{index}.layers.{layer}.fc1.weight" in self.blocks:
            name = f"{index}.layers.{layer}"
            x = x + self._attention(
                self._norm(x, f"{name}.self_attn_layer_norm"), valid, f"{name}.self_attn", num_heads
            )
            inner = functional.gelu(self._linear(self._norm(x, f"{name}.final_layer_norm"), f"{name}.fc1"))
            x = x + self._linear(inner, f"{name}.fc2")
            layer += 1
        return self._norm(x, f"{index}.layer_norm").transpose(1, 2)

    def _attention(self, x: Tensor, valid: Tensor, name: str, num_heads: int) -> Tensor:
        """Multi-head attention to the valid steps: x [B, T, D]."""
        query, key, value = (
            self._linear(x, f"{name}.{part}_proj").unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in "qkv"
        )  # [B, H, T, D / H]
        scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(2, 3))
        scores = scores.masked_fill(~valid[:, None, None], -torch.inf)
        return self._linear(torch.matmul(scores.softmax(-1), value).transpose(1, 2).flatten(2), f"{name}.out_proj")
