"""Both vocoder heads, the discriminators and weight norm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from omnikit.nn.discriminators import PeriodDiscriminator, WaveDiscriminator
from omnikit.nn.folding import folded
from omnikit.nn.hifigan import HiFiGAN
from omnikit.nn.istft_head import IstftHead, overlap_add
from omnikit.nn.weight_norm import WNConv1d, WNConv2d, WNConvTranspose1d, joined_weight, time_major


def heads(style_dim: int) -> list[nn.Module]:
    torch.manual_seed(0)
    gan = HiFiGAN(4, 16, (4, 4), (8, 8), (3,), ((1, 3),), style_dim)
    return [gan, IstftHead(4, 16, 24, 2, 64, 16, style_dim)]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("num_frames", [1, 2, 7])
def test_heads_give_hop_samples_a_frame(index: int, num_frames: int) -> None:
    head = heads(3)[index]
    wave = head(torch.randn(2, 4, num_frames), torch.randn(2, 3, 1))
    assert wave.shape == (2, 1, 16 * num_frames)
    assert wave.isfinite().all()
    assert heads(0)[index](torch.randn(1, 4, num_frames)).shape == (1, 1, 16 * num_frames)


def test_istft_gives_back_the_sound_of_its_spectrum() -> None:
    wave = torch.randn(1, 64 + 9 * 16, generator=torch.Generator().manual_seed(0))
    head = IstftHead(4, 8, 8, 1, 64, 16)
    spectrum = torch.fft.rfft(wave.unfold(1, 64, 16) * head.window)  # [1, 10, F]
    back = head.synthesise(torch.cat([spectrum.abs().clamp(min=1e-7).log(), spectrum.angle()], -1))
    torch.testing.assert_close(back, wave[:, 24:-24], atol=1e-4, rtol=1e-4)


def test_istft_survives_absurd_magnitudes() -> None:
    head = IstftHead(4, 8, 8, 1, 64, 16)
    x = torch.full((1, 3, 66), 1e4, requires_grad=True)
    wave = head.synthesise(x)
    wave.sum().backward()
    assert wave.isfinite().all()
    assert x.grad.isfinite().all()


def test_overlap_add() -> None:
    frames = torch.tensor([[[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]])
    assert overlap_add(frames, 2).tolist() == [[1.0, 2.0, 13.0, 20.0, 30.0]]


@pytest.mark.parametrize("period", [2, 3, 5])
def test_periods_are_columns_of_a_2d_convolution(period: int) -> None:
    torch.manual_seed(0)
    model, wave = PeriodDiscriminator(period, (4, 6, 6)).double(), torch.randn(2, 1, 61, dtype=torch.double)
    missing = -61 % period
    x = nn.functional.pad(wave, (0, missing), mode="reflect") if missing else wave
    x = x.unflatten(-1, (-1, period))
    score, maps = model(wave)
    for conv, got in zip(model.convs, maps, strict=False):
        x = nn.functional.leaky_relu(conv(x), 0.1)
        torch.testing.assert_close(got, x)
    plain = model.conv_post(x).flatten(1)
    torch.testing.assert_close(score, plain)
    slopes, expected = (torch.autograd.grad(made.square().sum(), model.parameters()) for made in (score, plain))
    torch.testing.assert_close(slopes, expected)


def test_discriminator_batches_equal_singles() -> None:
    torch.manual_seed(0)
    model, wave = (
        WaveDiscriminator((4, 4, 4, 4, 4, 4), (1, 2, 2, 2, 2, 1), (4, 4, 4, 4, 4), (2, 3)),
        torch.randn(3, 1, 500),
    )
    scores, maps = model(wave)
    assert [len(row) for row in maps] == [7, 6, 6]
    alone, _ = model(wave[1:2])
    for together, single in zip(scores, alone, strict=True):
        torch.testing.assert_close(together[1:2], single)


@pytest.mark.parametrize(
    ("made", "plain", "x"),
    [
        (lambda: WNConv1d(4, 6, 3, padding=1), nn.functional.conv1d, torch.randn(1, 4, 9)),
        (lambda: WNConv2d(4, 6, 3, padding=1), nn.functional.conv2d, torch.randn(1, 4, 9, 9)),
        (lambda: WNConvTranspose1d(4, 6, 3, padding=1), nn.functional.conv_transpose1d, torch.randn(1, 4, 9)),
    ],
)
def test_weight_norm_is_direction_times_gain(made: object, plain: object, x: torch.Tensor) -> None:
    conv = made()
    assert set(conv.state_dict()) == {"weight_g", "weight_v", "bias"}
    weight = joined_weight(conv)
    torch.testing.assert_close(weight, conv.weight_v)  # nothing changes by splitting
    torch.testing.assert_close(conv(x), plain(x, weight, conv.bias, padding=1))
    with torch.no_grad():
        conv.weight_v *= 3
    torch.testing.assert_close(joined_weight(conv), weight)
    with torch.no_grad():
        conv.weight_g *= 2
    torch.testing.assert_close(joined_weight(conv), 2 * weight)


@pytest.mark.parametrize(
    ("conv", "plain"),
    [
        (WNConv1d(4, 6, 3, 2, 2, 2, 2), lambda x, w, b: nn.functional.conv1d(x, w, b, 2, 2, 2, 2)),
        (WNConvTranspose1d(4, 6, 5, 3, 1, 1, 2), lambda x, w, b: nn.functional.conv_transpose1d(x, w, b, 3, 1, 1, 2)),
    ],
)
def test_signals_keep_their_layout(conv: nn.Module, plain: object) -> None:
    x = torch.randn(2, 4, 17)
    for signal in (x, time_major(x)):
        got = conv(signal)
        assert (got.stride(1) == 1) == (signal.stride(1) == 1)
        torch.testing.assert_close(got, plain(x, joined_weight(conv), conv.bias))


def test_a_head_computes_the_same_while_it_trains() -> None:
    head = heads(3)[0].double()
    z, g = torch.randn(2, 4, 7, dtype=torch.double), torch.randn(2, 3, 1, dtype=torch.double)
    slopes = []
    for mode in (True, False):
        head.train(mode)(z, g).square().sum().backward()
        slopes.append({name: weight.grad.clone() for name, weight in head.named_parameters()})
        head.zero_grad()
    torch.testing.assert_close(slopes[0], slopes[1])


def test_a_folded_discriminator_judges_alike() -> None:
    torch.manual_seed(0)
    model = WaveDiscriminator((4, 4, 4, 4, 4, 4), (1, 2, 2, 2, 2, 1), (4, 4, 4, 4, 4), (2, 3))
    wave = torch.randn(2, 1, 400)
    torch.testing.assert_close(folded(model)(wave), model(wave))
