"""Spectra, durations, losses and the reference encoder."""

from __future__ import annotations

import math

import pytest
import torch

from omnikit.nn.duration import DurationPredictor, StochasticDurationPredictor
from omnikit.nn.spectrogram import Spectrogram, reflect_rows
from omnikit.nn.style_encoder import StyleEncoder
from omnikit.nn.vits_losses import (
    bounded,
    discriminator_loss,
    feature_loss,
    frame_log_likelihood,
    generator_loss,
    kl_loss,
    mel_loss,
)


def test_rows_are_reflected_at_their_own_ends() -> None:
    wave = torch.tensor([[1.0, 2, 3, 4, 5], [6, 7, 8, 0, 0]])
    rows = reflect_rows(wave, torch.tensor([5, 3]), 2)
    assert rows.tolist() == [[3, 2, 1, 2, 3, 4, 5, 4, 3], [8, 7, 6, 7, 8, 7, 6, 0, 0]]


@pytest.mark.parametrize("length", [1, 16, 17, 500])
def test_spectra_of_a_batch_equal_those_of_singles(length: int) -> None:
    spectrogram = Spectrogram(8000, 64, 16, 10, 0.0, 4000.0)
    wave = torch.randn(2, 600, generator=torch.Generator().manual_seed(0))
    wave[1, length:] = 0
    together, frames = spectrogram.linear(wave, torch.tensor([600, length]))
    assert frames.tolist() == [37, length // 16]
    assert not together[1, :, length // 16 :].any()
    if length >= 64:
        alone, _ = spectrogram.linear(wave[1:, :length], torch.tensor([length]))
        torch.testing.assert_close(together[1:, :, : length // 16], alone)


def test_a_tone_shows_where_it_is() -> None:
    spectrogram = Spectrogram(8000, 256, 64, 20, 0.0, 4000.0)
    wave = torch.sin(2 * math.pi * 1000 * torch.arange(4000) / 8000)[None]
    magnitude, _ = spectrogram.linear(wave, torch.tensor([4000]))
    assert (magnitude[..., 2:-2].argmax(1) == 32).all()  # 1000 Hz of 31.25 Hz a bin
    assert spectrogram.log_mel(magnitude).shape == (1, 20, 62)


def test_whole_frame_targets_leave_the_mean_duration_unbiased() -> None:
    torch.manual_seed(0)
    model = DurationPredictor(4, 8, 3, 4.0, 0.0)
    hidden, mask = torch.zeros(1, 4, 64), torch.ones(1, 1, 64)
    durations = torch.tensor([2.0, 3.0]).repeat(32)[None, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    first = model.loss(hidden, mask, durations)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(hidden, mask, durations).sum().backward()
        optimizer.step()
    assert model.loss(hidden, mask, durations) < first
    with torch.no_grad():
        predicted = model.log_durations(hidden, mask).exp()
    assert predicted.mean().item() == pytest.approx(2.5, abs=0.01)


def test_durations_start_at_the_clock_and_zero_ones_are_fine() -> None:
    model = DurationPredictor(4, 8, 3, 2.5, 0.0, style_dim=3)
    hidden, mask = torch.randn(1, 4, 5), torch.ones(1, 1, 5)
    torch.testing.assert_close(
        model.log_durations(hidden, mask, torch.randn(1, 3, 1)).exp(), torch.full((1, 1, 5), 2.5)
    )
    loss = model.loss(hidden, mask, torch.tensor([[[0.0, 2.5, 2.5, 2.5, 2.5]]]))
    assert loss.item() == pytest.approx(2.5)  # only the missing unit is wrong


def test_stochastic_durations_learn_two_lengths() -> None:
    torch.manual_seed(0)
    draws = torch.Generator().manual_seed(0)
    model = StochasticDurationPredictor(8, 3, 2, 0.0)
    hidden = torch.randn(1, 8, 2, generator=draws).repeat(1, 1, 32)
    mask, durations = torch.ones(1, 1, 64), torch.tensor([1.0, 9.0]).repeat(32)[None, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(100):
        loss = model.loss(hidden, mask, durations, torch.randn(1, 2, 64, generator=draws)).sum() / 64
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    with torch.no_grad():
        predicted = model.log_durations(hidden, mask, torch.zeros(1, 2, 64)).exp()[0, 0]
    assert predicted[33] > 3 * predicted[32]


def test_kl_of_equal_normals_is_zero_and_extremes_stay_finite() -> None:
    draws = torch.Generator().manual_seed(0)
    mean, log_scale = torch.randn(4, 3, 50, generator=draws), 0.3 * torch.randn(4, 3, 50, generator=draws)
    mask = torch.ones(4, 1, 50)
    z = mean + log_scale.exp()  # one standard deviation away: the expectation of the squared distance
    assert kl_loss(z, log_scale, mean, log_scale, mask).item() == pytest.approx(0, abs=1e-5)
    extreme = torch.full_like(mean, -1e3).requires_grad_()
    loss = kl_loss(z, log_scale, mean, extreme, mask)
    loss.backward()
    assert loss.isfinite()
    assert frame_log_likelihood(z, mean, extreme).isfinite().all()
    assert bounded(extreme).isfinite().all()


def test_likelihood_is_that_of_normals() -> None:
    draws = torch.Generator().manual_seed(0)
    z, mean, log_scale = (torch.randn(2, 3, n, generator=draws) for n in (5, 4, 4))
    normal = torch.distributions.Normal(mean[:, :, None], log_scale[:, :, None].exp())
    torch.testing.assert_close(
        frame_log_likelihood(z, mean, log_scale), normal.log_prob(z[..., None]).sum(1), atol=1e-4, rtol=1e-4
    )


def test_adversarial_losses() -> None:
    real, fake = [torch.full((2, 3), 1.0)], [torch.full((2, 3), 0.0)]
    assert discriminator_loss(real, fake).item() == 0
    assert generator_loss(fake).item() == 1
    real_maps, fake_maps = [[torch.ones(2, requires_grad=True)]], [[torch.zeros(2, requires_grad=True)]]
    loss = feature_loss(real_maps, fake_maps)
    loss.backward()
    assert loss.item() == 2
    assert real_maps[0][0].grad is None
    assert fake_maps[0][0].grad is not None


def test_mel_loss_counts_valid_frames_only() -> None:
    real, fake = torch.zeros(1, 2, 3), torch.tensor([[[1.0, 1, 9], [3, 3, 9]]])
    assert mel_loss(real, fake, torch.tensor([[True, True, False]])).item() == 2


def test_style_of_a_padded_batch_equals_that_of_singles_where_padding_is_masked() -> None:
    torch.manual_seed(0)
    spectrum, mask = torch.rand(2, 9, 12), torch.ones(2, 1, 12)
    mask[1, 0, 5:] = 0
    masked, open_ = (StyleEncoder(9, 8, 4, mask_padding=flag).eval() for flag in (True, False))
    for model, same in ((masked, True), (open_, False)):
        together = model(spectrum * mask, mask)
        torch.testing.assert_close(together.norm(dim=1), torch.ones(2))
        alone = model(spectrum[1:, :, :5], mask[1:, :, :5])
        assert torch.allclose(together[1:], alone, atol=1e-6) == same
