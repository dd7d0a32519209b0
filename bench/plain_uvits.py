"""The unit-to-speech VITS decoded the plain way: the formulas one by one in eager PyTorch, with the weights of ours.

The baseline of `bench/detokenizer.py`. Nothing here is slow on purpose; it is what the published code does: normalised
weights are multiplied out in every call, relative attention pads its few positions to twice the length, units become
frames by products with 0/1 matrices, and the whole is made before the first sample is given.

Letters: B batch, K codebooks, T units, H heads, d width of a head, C latent channels, L frames, G style width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def attention(layer: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Relative self-attention [B, D, T] with embeddings of all 2 · T - 1 positions, most of them zero."""
    size, window = x.shape[-1], layer.window
    query, key, value = (
        conv(x).unflatten(1, (layer.num_heads, -1)).transpose(2, 3)  # [B, H, T, d]
        for conv in (layer.conv_q, layer.conv_k, layer.conv_v)
    )
    query = query / query.shape[-1] ** 0.5
    scores = query @ key.transpose(2, 3)
    logits = query @ every_position(layer.emb_rel_k, size, window)[None].transpose(2, 3)  # [B, H, T, 2 T - 1]
    flat = functional.pad(functional.pad(logits, (0, 1)).flatten(2), (0, size - 1))
    scores = scores + flat.unflatten(2, (size + 1, 2 * size - 1))[:, :, :size, size - 1 :]
    weights = scores.masked_fill(mask[:, :, None] * mask[..., None] == 0, -1e4).softmax(-1)
    out = weights @ value
    flat = functional.pad(functional.pad(weights, (0, size - 1)).flatten(2), (size, 0))
    near = flat.unflatten(2, (size, 2 * size))[..., 1:]  # [B, H, T, 2 T - 1]
    out = out + near @ every_position(layer.emb_rel_v, size, window)[None]
    return layer.conv_o(out.transpose(2, 3).flatten(1, 2))


def every_position(table: Tensor, size: int, window: int) -> Tensor:
    """The table [1, 2 · window + 1, d] as one of all positions [1, 2 · T - 1, d]."""
    pad = max(size - window - 1, 0)
    start = max(window + 1 - size, 0)
    return functional.pad(table, (0, 0, pad, pad))[:, start : start + 2 * size - 1]


class PlainUVITS:
    """Units → waveform of one row, in the noise that is given."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def encode(self, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States, mean and log scale per unit."""
        encoder, layers = self.model.enc_p, self.model.enc_p.encoder
        rows = encoder.emb(codes + encoder.first_rows[:, None]).mean(1)
        x = rows.transpose(1, 2) * encoder.hidden_dim**0.5 * mask
        for attend, norm_1, feed, norm_2 in zip(
            layers.attn_layers, layers.norm_layers_1, layers.ffn_layers, layers.norm_layers_2, strict=True
        ):
            x = norm_1(x + attention(attend, x, mask))
            x = norm_2(x + feed(x, mask))
        x = x * mask
        mean, log_scale = (encoder.proj(x) * mask).chunk(2, 1)
        return x, mean, log_scale

    @torch.no_grad()
    def decode(self, codes: Tensor, g: Tensor, unit_noise: Tensor, frame_noise: Any) -> Tensor:
        """Codes [1, K, T] in the style g [1, G, 1] → wave [1, S].

        `unit_noise` [1, 2, T] is scaled, `frame_noise` gives the noise [1, C, L] of L frames.
        """
        model = self.model
        mask = torch.ones(1, 1, codes.shape[-1])
        hidden, mean, log_scale = self.encode(codes, mask)
        durations = (model.dp.log_durations(hidden, mask, unit_noise, g).exp() * mask).ceil()  # [1, 1, T]
        frames = int(durations.sum())
        path = one_hot_path(durations, frames)  # [1, L, T]
        mean = torch.matmul(path, mean.transpose(1, 2)).transpose(1, 2)
        log_scale = torch.matmul(path, log_scale.transpose(1, 2)).transpose(1, 2)
        inside = torch.ones(1, 1, frames)
        z = model.flow.inverse(mean + frame_noise(frames) * log_scale.exp(), inside, g)
        return model.dec(z * inside, g)[:, 0]


def one_hot_path(durations: Tensor, frames: int) -> Tensor:
    """Durations [1, 1, T] → 0/1 matrix [1, L, T] of the unit of every frame."""
    ends = durations[:, 0].cumsum(1)  # [1, T]
    before = (torch.arange(frames) < ends[..., None]).float()  # [1, T, L]
    return (before - functional.pad(before, (0, 0, 1, 0))[:, :-1]).transpose(1, 2)


def randomised(model: nn.Module) -> nn.Module:
    """Zero weights of the start made random, and units made as long as speech has them, so that everything works."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("post.weight", "proj.weight")) and not weight.any():
                nn.init.normal_(weight, std=0.02)
        model.dp.flows[0].m[0] = -0.9
    return model.eval()
