"""The SPIRAL speech encoder: convolutions that shorten time, and transformers whose place is told by a convolution.

Letters: B batch, T time steps, D width, H attention heads, K kernel taps, M mel bands. Everything flows as [B, T, D];
positions at or beyond a row's length are padding and never reach a valid position.

Ref: Huang et al., "SPIRAL: Self-supervised Perturbation-Invariant Representation Learning for Speech Pre-Training",
ICLR 2022; positions by convolution: Baevski et al., "wav2vec 2.0", NeurIPS 2020, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.folding import Remade
from omnikit.nn.logmel import LogMel
from omnikit.nn.packed import inference_dtype
from omnikit.nn.spiral_packed import PackedBlock, PackedConvBlock, PackedSpiral, PackedTransformer


def valid_steps(lengths: Tensor, num_steps: int) -> Tensor:
    """True where a step lies inside its row: lengths [B] → [B, T]."""
    return torch.arange(num_steps, device=lengths.device) < lengths[:, None]


class MaskedConv1d(nn.Module):
    """Convolution over time that sees zeros outside the valid steps; `ceil(T / stride)` steps come out.

    A kernel of one tap is a matrix product and leaves padding alone.
    """

    def __init__(self, in_dim: int, out_dim: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride
        self.conv = nn.Conv1d(in_dim, out_dim, kernel_size, stride)
        nn.init.kaiming_normal_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Steps x [B, T, D] with `lengths` [B] → steps [B, ceil(T / stride), D'] and their lengths."""
        if self.kernel_size == 1:
            return functional.linear(x, self.conv.weight[:, :, 0], self.conv.bias), lengths
        num_steps = x.shape[1]
        x = x * valid_steps(lengths, num_steps)[..., None]
        x = functional.pad(x.transpose(1, 2), self.margins(num_steps))  # [B, D, T + outside]
        return self.conv(x).transpose(1, 2), self.shortened(lengths)  # [B, T', D']

    def margins(self, num_steps: int) -> tuple[int, int]:
        """Zeros to put before and after `num_steps` steps so that `ceil(num_steps / stride)` come out."""
        outside = self.kernel_size - self.stride
        return outside // 2, outside - outside // 2 + -num_steps % self.stride

    def shortened(self, lengths: Tensor) -> Tensor:
        """Lengths [B] after the stride."""
        return (lengths + self.stride - 1).div(self.stride, rounding_mode="floor")


class ConvBlock(nn.Module):
    """Convolution → layer norm over channels → ReLU and dropout (both only where `activate`)."""

    def __init__(
        self, in_dim: int, out_dim: int, kernel_size: int, stride: int = 1, activate: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv = MaskedConv1d(in_dim, out_dim, kernel_size, stride)
        self.norm = nn.LayerNorm(out_dim)
        self.activate = activate
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Steps x [B, T, D] with `lengths` [B] → steps [B, T', D'] with theirs."""
        x, lengths = self.conv(x, lengths)
        x = self.norm(x)
        return (self.dropout(functional.relu(x)) if self.activate else x), lengths

    def packed(self, dtype: torch.dtype) -> PackedBlock:
        """The same block for inference, with its present weights."""
        return PackedConvBlock(self, dtype)


class PositionConv(nn.Module):
    """Grouped convolution that tells the place, weight-normalised with one gain a kernel tap.

    W[:, :, k] = g[k] · V[:, :, k] / ‖V[:, :, k]‖ (Frobenius). For an even kernel the last output step is dropped.
    """

    def __init__(self, dim: int, kernel_size: int, num_groups: int) -> None:
        super().__init__()
        self.num_groups = num_groups
        direction = torch.empty(dim, dim // num_groups, kernel_size)
        nn.init.normal_(direction, std=(4 / (kernel_size * dim)) ** 0.5)
        self.weight_g = nn.Parameter(self._tap_norms(direction))  # [1, 1, K]
        self.weight_v = nn.Parameter(direction)  # [D, D / groups, K]
        self.bias = nn.Parameter(torch.zeros(dim))

    @staticmethod
    def _tap_norms(weight: Tensor) -> Tensor:
        return torch.linalg.vector_norm(weight, dim=(0, 1), keepdim=True)

    def weight(self) -> Tensor:
        """The normalised weight [D, D / groups, K]."""
        return self.weight_v * (self.weight_g / self._tap_norms(self.weight_v))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [B, D, T] → [B, D, T]."""
        kernel_size = self.weight_v.shape[-1]
        x = functional.conv1d(x, self.weight(), self.bias, padding=kernel_size // 2, groups=self.num_groups)
        return x if kernel_size % 2 else x[..., :-1]


class SelfAttention(nn.Module):
    """Multi-head attention within each row's valid steps."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Steps x [B, T, D], keys to look at `mask` [B, 1, 1, T] → [B, T, D]."""
        query, key, value = (
            projection(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, T, D / H]
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        x = _attend(query, key, value, mask, self.dropout if self.training else 0.0)
        return self.out_proj(x.transpose(1, 2).flatten(2))  # [B, T, D]


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Attention [B, H, T, D / H]; on CPU in float32 at least, where the kernel's backward pass is slow in bfloat16."""
    if query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    wide = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):
        x = functional.scaled_dot_product_attention(
            query.to(wide), key.to(wide), value.to(wide), attn_mask=mask, dropout_p=dropout
        )
    return x.to(query.dtype)


class TransformerLayer(nn.Module):
    """Pre-norm layer: x += attention(norm(x)); x += W2 · GELU(W1 · norm(x))."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = SelfAttention(dim, num_heads, dropout)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Steps x [B, T, D], keys to look at `mask` [B, 1, 1, T] → [B, T, D]."""
        x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), mask))
        inner = self.dropout(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x + self.dropout(self.fc2(inner))


class TransformerBlock(nn.Module):
    """Position convolution, pre-norm layers and a final layer norm.

    In training each layer is skipped with probability `layer_drop`, drawn from torch's default generator like dropout.
    """

    def __init__(
        self,
        dim: int,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        position_kernel: int,
        position_groups: int,
        dropout: float = 0.0,
        layer_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.layer_drop = layer_drop
        self.pos_conv = nn.Sequential(PositionConv(dim, position_kernel, position_groups), nn.GELU())
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(TransformerLayer(dim, num_heads, ffn_dim, dropout) for _ in range(num_layers))
        self.layer_norm = nn.LayerNorm(dim)
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Steps x [B, T, D] with `lengths` [B] → steps [B, T, D] with the same lengths."""
        valid = valid_steps(lengths, x.shape[1])
        x = x * valid[..., None]
        x = self.dropout(x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2))
        mask = valid[:, None, None]  # [B, 1, 1, T]
        for layer in self.layers:
            if self.training and self.layer_drop and float(torch.rand(())) < self.layer_drop:
                continue
            x = layer(x, mask)
        return self.layer_norm(x), lengths

    def packed(self, dtype: torch.dtype) -> PackedBlock:
        """The same block for inference, with its present weights."""
        return PackedTransformer(self, dtype)


class FeatureEncoder(nn.Module):
    """A chain of blocks, each `(steps, lengths) → (steps, lengths)`.

    In evaluation on a CPU, where no gradient is wanted, it runs over a packed copy of its weights that is made anew
    when they change; automatic precision in bfloat16 is followed there too.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.block_modules = nn.ModuleList(blocks)
        self._packed: Remade[PackedSpiral] = Remade()

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Steps x [B, T, D] with `lengths` [B] → steps [B, T', D'] with theirs."""
        dtype = None if self.training else inference_dtype(x)
        if dtype is not None:
            packed = self._packed.get(self.parameters(), lambda: PackedSpiral(self, dtype), dtype)
            return packed(x, lengths)
        for block in self.block_modules:
            x, lengths = block(x, lengths)
        return x, lengths


class SpiralEncoder(nn.Module):
    """Waveform → log-mel frames → encoded steps, under the names of published checkpoints.

    `mask_emb` stands for masked frames in self-supervised pre-training; it belongs to the weights and is not used here.
    """

    mask_emb: Tensor

    def __init__(self, featurizer: LogMel, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.register_buffer("mask_emb", torch.zeros(featurizer.fb.shape[1]))
        self.wav2spec = nn.ModuleDict({"featurizer": featurizer})
        self.feature_encoder = FeatureEncoder(blocks)

    def forward(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waves [B, S] with `lengths` [B] → steps [B, T, D] up to the longest row, and their lengths [B]."""
        mel, frames = self.wav2spec["featurizer"](wave, lengths)  # [B, M, T]
        return self.feature_encoder(mel.transpose(1, 2)[:, : int(frames.max())], frames)


def spiral_blocks(
    num_mels: int,
    widths: Sequence[int],
    num_layers: Sequence[int],
    num_heads: Sequence[int],
    ffn_ratio: int,
    position_kernel: int,
    position_groups: int,
    dropout: float,
    layer_drop: float,
) -> list[nn.Module]:
    """The seven blocks of SPIRAL's low-frame-rate encoder: a quarter of the frames come out.

    `widths` are the four output widths of the convolutions (two halving ones, then a wide and a narrow one); the second
    and the fourth are the widths of the two transformers, whose depths are `num_layers` and heads `num_heads`.
    """
    first, early, wide, late = widths

    def transformer(index: int, dim: int, skip: float) -> TransformerBlock:
        return TransformerBlock(
            dim, num_layers[index], num_heads[index], ffn_ratio * dim, position_kernel, position_groups, dropout, skip
        )

    return [
        ConvBlock(num_mels, first, 5, stride=2, dropout=dropout),
        ConvBlock(first, early, 5, stride=2, dropout=dropout),
        ConvBlock(early, early, 1, activate=False),
        transformer(0, early, 0.0),
        ConvBlock(early, wide, 5, dropout=dropout),
        ConvBlock(wide, late, 1, activate=False),
        transformer(1, late, layer_drop),
    ]
