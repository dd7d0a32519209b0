"""The blocks of the SPIRAL encoder against plain torch, and rows that do not see padding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.logmel import LogMel
from omnikit.nn.spiral import (
    ConvBlock,
    MaskedConv1d,
    PositionConv,
    SelfAttention,
    SpiralEncoder,
    TransformerBlock,
    spiral_blocks,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_halving_convolution_pads_one_left_and_two_right() -> None:
    conv = MaskedConv1d(3, 4, 5, stride=2)
    x = normal(2, 10, 3)
    got, lengths = conv(x, torch.tensor([10, 9]))
    alone = functional.conv1d(functional.pad(x[:1].transpose(1, 2), (1, 2)), conv.conv.weight, conv.conv.bias, 2)
    torch.testing.assert_close(got[:1], alone.transpose(1, 2))
    assert lengths.tolist() == [5, 5]
    cut = x.clone()
    cut[1, 9:] = 0
    torch.testing.assert_close(got[1], conv(cut, torch.tensor([10, 10]))[0][1])


@pytest.mark.parametrize("num_steps", [1, 2, 7, 8])
@pytest.mark.parametrize(("kernel_size", "stride"), [(5, 2), (5, 1), (1, 1), (3, 1)])
def test_as_many_steps_come_out_as_the_lengths_say(num_steps: int, kernel_size: int, stride: int) -> None:
    block = ConvBlock(3, 4, kernel_size, stride)
    x, lengths = block(normal(1, num_steps, 3), torch.tensor([num_steps]))
    assert x.shape == (1, math.ceil(num_steps / stride), 4)
    assert lengths.tolist() == [x.shape[1]]


@pytest.mark.parametrize("kernel_size", [7, 8])
def test_position_convolution_has_one_gain_a_tap(kernel_size: int) -> None:
    conv = PositionConv(8, kernel_size, num_groups=2)
    with torch.no_grad():
        conv.weight_g.copy_(normal(1, 1, kernel_size))
        conv.bias.copy_(normal(8, seed=1))
    weight = torch.stack(
        [conv.weight_g[0, 0, k] * tap / tap.square().sum().sqrt() for k, tap in enumerate(conv.weight_v.unbind(2))], 2
    )
    x = normal(2, 8, 20)
    expected = functional.conv1d(x, weight, conv.bias, padding=kernel_size // 2, groups=2)[..., :20]
    torch.testing.assert_close(conv(x), expected)
    assert conv(x).shape == x.shape


def test_attention_agrees_with_torch() -> None:
    attention = SelfAttention(12, 3, dropout=0.0)
    reference = nn.MultiheadAttention(12, 3, batch_first=True)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([item.weight for item in projections]))
        reference.in_proj_bias.copy_(torch.cat([item.bias for item in projections]))
        reference.out_proj.weight.copy_(attention.out_proj.weight)
        reference.out_proj.bias.copy_(attention.out_proj.bias)
    x = normal(2, 6, 12)
    keep = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    expected, _ = reference(x, x, x, key_padding_mask=~keep)
    torch.testing.assert_close(attention(x, keep[:, None, None]), expected)


def test_attention_keeps_the_precision_around_it() -> None:
    attention = SelfAttention(12, 3, dropout=0.0)
    x, mask = normal(2, 6, 12), torch.ones(2, 1, 1, 6, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        assert attention(x, mask).dtype == torch.bfloat16
    assert attention.double()(x.double(), mask).dtype == torch.float64


def test_a_transformer_skips_layers_only_in_training() -> None:
    torch.manual_seed(0)
    block = TransformerBlock(8, 3, 2, 16, position_kernel=4, position_groups=2, layer_drop=1.0)
    for layer in block.layers:
        nn.init.normal_(layer.fc2.weight)
    x, lengths = normal(1, 5, 8), torch.tensor([5])
    skipped, _ = block(x, lengths)
    bare = block.layer_norm(x + block.pos_conv(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(skipped, bare)
    assert (block.eval()(x, lengths)[0] - bare).abs().max() > 0.1


def encoder() -> SpiralEncoder:
    torch.manual_seed(0)
    blocks = spiral_blocks(16, (8, 12, 16, 12), (1, 2), (2, 3), 2, 8, 4, dropout=0.1, layer_drop=0.1)
    for module in nn.ModuleList(blocks).modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return SpiralEncoder(LogMel(16), blocks).eval()


def test_a_row_of_a_batch_is_the_row_alone() -> None:
    model = encoder()
    lengths = torch.tensor([9000, 8999, 3201, 641, 1])
    waves = normal(5, 9000)
    steps, out = model(waves, lengths)
    assert out.tolist() == [math.ceil(math.ceil(n / 160) / 4) for n in lengths.tolist()]
    assert steps.shape == (5, int(out.max()), 12)
    for row, length in enumerate(lengths.tolist()):
        alone, _ = model(waves[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(steps[row, : int(out[row])], alone[0], atol=1e-4, rtol=1e-4)


def test_every_parameter_learns_from_a_padded_batch() -> None:
    model = encoder()
    steps, lengths = model(normal(2, 4000), torch.tensor([4000, 1500]))
    steps[1, : int(lengths[1])].square().sum().backward()
    lost = [name for name, item in model.named_parameters() if item.grad is None or not item.grad.isfinite().all()]
    assert not lost
    assert model.feature_encoder.block_modules[0].conv.conv.weight.grad.abs().max() > 0
