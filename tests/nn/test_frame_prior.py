"""The prior within units, its place signal, the multi-resolution loss, and durations that teach the style."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omnikit.errors import OmnikitError
from omnikit.nn.alignment import path_of
from omnikit.nn.duration import DurationPredictor
from omnikit.nn.frame_prior import FramePrior, place_in_unit
from omnikit.nn.vits_losses import stft_loss


def test_the_place_runs_evenly_through_every_unit():
    durations = torch.tensor([[2, 0, 4], [1, 1, 0]])
    place = place_in_unit(durations, path_of(durations, 6))
    assert place[0].tolist() == pytest.approx([0.25, 0.75, 0.125, 0.375, 0.625, 0.875])
    assert place[1, :2].tolist() == pytest.approx([0.5, 0.5])
    assert bool(((place >= 0) & (place <= 1)).all())


def test_before_training_the_frame_prior_changes_nothing_and_then_it_learns():
    prior = FramePrior(unit_dim=6, latent_dim=4, hidden_dim=8, kernel_size=3, num_layers=2, style_dim=5)
    hidden, mean, log_scale = torch.randn(2, 6, 7), torch.randn(2, 4, 7), torch.randn(2, 4, 7)
    place, mask, g = torch.rand(2, 7), torch.ones(2, 1, 7), torch.randn(2, 5, 1)
    out = prior(hidden, place, mean, log_scale, mask, g)
    torch.testing.assert_close(out, (mean, log_scale))
    out[0].square().sum().backward()
    assert prior.proj.weight.grad is not None and float(prior.proj.weight.grad.abs().max()) > 0


def test_the_frame_prior_keeps_padding_out():
    prior = FramePrior(unit_dim=6, latent_dim=4, hidden_dim=8, kernel_size=3, num_layers=3, style_dim=0)
    torch.nn.init.normal_(prior.proj.weight)
    hidden, mean, log_scale = torch.randn(1, 6, 9), torch.randn(1, 4, 9), torch.randn(1, 4, 9)
    place = torch.rand(1, 9)
    alone = prior(hidden[..., :5], place[:, :5], mean[..., :5], log_scale[..., :5], torch.ones(1, 1, 5), None)
    mask = (torch.arange(9) < 5).float()[None, None]
    padded = prior(hidden, place, mean, log_scale, mask, None)
    for single, row in zip(alone, padded, strict=True):
        torch.testing.assert_close(row[..., :5], single)
        assert float(row[..., 5:].abs().max()) == 0


def test_stft_loss_is_the_formula():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 1, 600)), rng.standard_normal((2, 1, 600))
    expected = []
    for size in (64, 128):
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        spectra = []
        for wave in (real, fake):
            rows = np.pad(wave[:, 0], ((0, 0), (size // 2, size // 2)), mode="reflect")
            starts = range(0, rows.shape[1] - size + 1, size // 4)
            spectra.append(np.stack([np.abs(np.fft.rfft(rows[:, at : at + size] * hann)) for at in starts], -1))
        a, b = (np.maximum(each, 1e-5) for each in spectra)
        expected.append(np.sqrt(((a - b) ** 2).sum() / (a**2).sum()) + np.abs(np.log(a) - np.log(b)).mean())
    found = stft_loss(torch.from_numpy(real).float(), torch.from_numpy(fake).float(), (64, 128))
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("teaches", [False, True])
def test_durations_teach_the_style_only_where_asked(teaches):
    predictor = DurationPredictor(4, 8, 3, 2.5, dropout=0.0, style_dim=5, teaches_style=teaches)
    torch.nn.init.normal_(predictor.proj.weight)
    hidden, g = torch.randn(1, 4, 6, requires_grad=True), torch.randn(1, 5, 1, requires_grad=True)
    predictor.loss(hidden, torch.ones(1, 1, 6), torch.full((1, 1, 6), 3.0), g).sum().backward()
    assert hidden.grad is None
    assert (g.grad is not None and float(g.grad.abs().max()) > 0) == teaches


def test_a_frame_prior_is_refused_where_durations_are_searched():
    import omnikit

    known = {"codebooks": (8,), "vocab_id": "v", "unit_rate": 25, "style_dim": 0, "style_space": None}
    with pytest.raises(OmnikitError, match="frame_prior_layers"):
        omnikit.create("detokenizer/uvits", **known, layout="reduced", latent={"frame_prior_layers": 2})
