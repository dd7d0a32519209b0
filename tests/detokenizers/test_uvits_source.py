"""detokenizer/uvits whose Fourier head filters a source: it learns the pitch, and speaks at the pitch it learnt."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from detokenizers.small_uvits import SMALL, batch_of, draws, small, style_of, units_of
from omnikit.contracts import contract_of
from omnikit.detokenizers.uvits import UVITS
from omnikit.metrics.prosody import median_pitch
from omnikit.nn.source_head import SourceHead
from omnikit.slots.detokenizer import VoiceBatch
from omnikit.types import Style


def test_a_source_is_asked_for() -> None:
    assert not [name for name in small().state_dict() if name.startswith("dec.pitch")]
    assert isinstance(small("frame", "source").dec, SourceHead)


def test_it_waits_for_no_more_units_than_without() -> None:
    tiny = {**SMALL, "istft": {**SMALL["istft"], "num_layers": 5}, "layout": "frame", "head": "istft"}
    waits = [
        contract_of(
            UVITS, UVITS(**{**tiny, "istft": {**tiny["istft"], "source": source}}).parameters_given
        ).lookahead_ms
        for source in (False, True)
    ]
    assert waits[0] == waits[1]


def test_a_batch_equals_singles_and_repeats() -> None:
    model, units, style = small("frame", "source"), units_of([7, 2, 4]), style_of(3)
    assert torch.equal(model.decode(units, style, draws()).wave, model.decode(units, style, draws()).wave)
    model.noise_scale = model.duration_noise_scale = 0.0
    together = model.decode(units, style, draws())
    for row, length in enumerate(units.lengths.tolist()):
        single = replace(units, codes=units.codes[row : row + 1, :, :length], lengths=units.lengths[row : row + 1])
        alone = model.decode(single, Style(vector=style.vector[row : row + 1], space_id="space-1"), draws()).wave[0]
        torch.testing.assert_close(together.wave[row, : len(alone)], alone, atol=1e-4, rtol=0)


def test_bfloat16_keeps_the_pitch() -> None:
    model, units = small("frame", "source"), units_of([40])
    exact = model.decode(units, style_of(1), draws()).wave
    model.precision = torch.bfloat16
    near = model.decode(units, style_of(1), draws()).wave
    assert 10 * torch.log10(exact.square().mean() / (exact - near).square().mean()) > 30


def test_every_weight_gets_a_gradient_and_the_pitch_reaches_the_latents() -> None:
    model = small("frame", "source").train()
    losses = model.training_forward(batch_of("frame", [10, 6]), draws()).losses
    assert set(losses.parts) == {"mel", "kl", "duration", "pitch"}
    losses.total.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    only = small("frame", "source", objective={"segment_frames": 8, "mel_weight": 0.0, "kl_weight": 0.0}).train()
    only.training_forward(batch_of("frame", [10, 6]), draws()).losses.total.backward()
    assert only.enc_q.proj.weight.grad.any()


def voices(hz: Tensor) -> VoiceBatch:
    """Ten units of a pulse train at each of the frequencies hz [B]."""
    batch = batch_of("frame", [10] * len(hz))
    time = torch.arange(batch.audio.wave.shape[1]) / 16_000
    numbers = torch.arange(1, 12)[:, None, None]
    wave = 0.05 * (torch.cos(2 * torch.pi * numbers * hz[:, None] * time)).sum(0)
    return replace(batch, audio=replace(batch.audio, wave=wave))


def test_it_learns_two_pitches() -> None:
    model = small("frame", "source", objective={"segment_frames": 32}).train()
    hz = torch.tensor([92.0, 131.0])
    batch = voices(hz)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(60):
        losses = model.training_forward(batch, draws(step)).losses
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    assert losses.parts["pitch"] < 5 * 1.0
    with torch.no_grad():
        spectrum, _ = model.spectrogram.linear(batch.audio.wave, batch.audio.lengths)
        mask = torch.ones(2, 1, spectrum.shape[-1])
        g = model.enc_r(spectrum, mask)[..., None]
        wave = model.dec(model.enc_q(spectrum, mask, g)[0], g)[:, 0]
    for row in range(2):
        assert median_pitch(wave[row].numpy(), 16_000).median_hz == pytest.approx(float(hz[row]), rel=0.05)
