"""detokenizer/cfm_mel: what it refuses, what it promises of its output, and that flow, durations and vocoder learn."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from omnikit.contracts import DERIVED, Free, MelPort, UnitsPort, contract_of
from omnikit.data.voice_batches import VoiceRecordings
from omnikit.detokenizers.cfm_mel import CfmMel, FlowDraws
from omnikit.detokenizers.cfm_vocoder import IstftVocoder
from omnikit.errors import ContractError, DataError, MediaError, OmnikitError, UnknownName, WeightsError
from omnikit.nn.cfm import transport
from omnikit.slots.base import bind_parameters
from omnikit.slots.detokenizer import VoiceBatch
from omnikit.stages.detokenizer import DetokenizerStage
from omnikit.stages.optim import Optim
from omnikit.types import Audio, Style, Units

SMALL: dict[str, Any] = {
    "codebooks": [16],
    "vocab_id": "units-1",
    "unit_rate": 25,
    "style_dim": 4,
    "style_space": "space-1",
    "sample_rate": 16_000,
    "mel": {"fft_size": 1024, "hop_size": 256, "num_mels": 20, "max_hz": 8000.0},
    "unit_encoder": {"hidden_dim": 16, "filter_dim": 16, "num_layers": 1, "dropout": 0.0},
    "duration": {"filter_dim": 16, "dropout": 0.0},
    "reference": {"hidden_dim": 16, "dropout": 0.0},
    "field": {"hidden_dim": 24, "ffn_dim": 32, "num_layers": 2},
    "vocoder": {"hidden_dim": 32, "ffn_dim": 48, "num_layers": 2},
    "discriminator": {
        "scale_channels": [4, 4, 4, 4, 4, 4],
        "scale_groups": [1, 1, 1, 1, 1, 1],
        "period_channels": [4, 4, 4],
        "periods": [2, 3],
    },
    "objective": {"segment_frames": 8, "stft_sizes": [256, 512]},
}


def small(**changes: Any) -> CfmMel:
    torch.manual_seed(0)
    model = CfmMel(**{**SMALL, **changes})
    with torch.no_grad():  # zero at the start: durations would not differ
        model.lengths.proj.weight.normal_(std=0.1)
    return model


def units_of(lengths: list[int], **changes: Any) -> Units:
    draws = torch.Generator().manual_seed(len(lengths))
    codes = torch.randint(16, (len(lengths), 1, max(lengths)), generator=draws)
    given = {"sizes": (16,), "rate": Fraction(25), "vocab_id": "units-1", "layout": "frame", **changes}
    return Units(codes=codes, lengths=torch.tensor(lengths), **given)


def style_of(num_rows: int) -> Style:
    vector = torch.randn(num_rows, 4, generator=torch.Generator().manual_seed(3))
    return Style(vector=vector, space_id="space-1")


def batch_of(lengths: list[int]) -> VoiceBatch:
    """Tones whose pitch follows the row, 640 samples a unit."""
    samples = torch.tensor(lengths) * 640
    time = torch.arange(int(samples.max())) / 16_000
    wave = torch.stack([0.3 * torch.sin(2 * torch.pi * (200 + 150 * row) * time) for row in range(len(lengths))])
    wave = wave * (torch.arange(wave.shape[1]) < samples[:, None])
    return VoiceBatch(units_of(lengths), Audio(wave, samples, 16_000), torch.full((len(lengths), max(lengths)), 2.5))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_decode_repeats_with_the_generator_state() -> None:
    model = small().train()
    first, second, other = (model.decode(units_of([5, 3]), style_of(2), draws(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.wave, second.wave)
    assert not torch.equal(first.wave, other.wave)
    assert torch.equal(first.lengths, other.lengths)
    assert model.training
    assert first.sample_rate == 16_000


@pytest.mark.parametrize("length", [1, 2])
def test_short_inputs(length: int) -> None:
    sound = small().decode(units_of([length]), style_of(1), draws())
    assert sound.wave.shape[1] == int(sound.lengths[0]) > 0
    assert sound.wave.isfinite().all()


def test_a_batch_equals_singles() -> None:
    model, units, style = small(), units_of([7, 2, 4]), style_of(3)
    together = model.decode(units, style, draws(), temperature=0.0)
    for row, length in enumerate(units.lengths.tolist()):
        single = replace(units, codes=units.codes[row : row + 1, :, :length], lengths=units.lengths[row : row + 1])
        own = Style(vector=style.vector[row : row + 1], space_id="space-1")
        alone = model.decode(single, own, draws(), temperature=0.0)
        samples = int(alone.lengths[0])
        assert samples == int(together.lengths[row])
        torch.testing.assert_close(together.wave[row, :samples], alone.wave[0], atol=2e-6, rtol=1e-4)
        assert not together.wave[row, samples:].any()


def test_given_durations_are_kept() -> None:
    sound = small().decode(units_of([3, 2]), style_of(2), draws(), torch.tensor([[2.0, 0.0, 3.0], [1.5, 1.0, 9.0]]))
    assert sound.lengths.tolist() == [5 * 256, 2 * 256]


def test_predicted_durations_last_the_rounded_sum() -> None:
    model = small().eval()
    units, style = units_of([9, 4]), style_of(2)
    mask = (torch.arange(9) < units.lengths[:, None])[:, None].float()
    with torch.no_grad():
        hidden, _, _ = model.encoder(units.codes * mask.long(), mask)
        real = (model.lengths.log_durations(hidden, mask, 2 * style.vector[..., None]).exp() * mask).sum((1, 2))
    assert model.decode(units, style, draws()).lengths.tolist() == (real.round().long() * 256).tolist()


def test_steps_temperature_and_style_matter() -> None:
    model, units, style = small(), units_of([6]), style_of(1)
    base = model.decode(units, style, draws()).wave
    assert not torch.equal(base, model.decode(units, style, draws(), num_steps=2).wave)
    assert not torch.equal(base, model.decode(units, style, draws(), temperature=0.1).wave)
    other = model.decode(units, Style(vector=-style.vector, space_id="space-1"), draws()).wave
    length = min(base.shape[1], other.shape[1])
    assert not torch.equal(base[:, :length], other[:, :length])


def test_the_losses_are_those_of_the_formulas() -> None:
    """One row, dropout off: flow and mean loss from the field's and encoder's own outputs, written out."""
    model, batch = small().eval(), batch_of([4])
    frames = 4 * 640 // 256
    noise = FlowDraws(torch.randn(1, 20, frames, generator=draws()), torch.tensor([0.3]), torch.tensor([0.0]))
    seen: dict[str, torch.Tensor] = {}
    field = model.field.forward

    def watched(x: torch.Tensor, condition: torch.Tensor, time: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen["x"], seen["condition"], seen["found"] = x, condition, field(x, condition, time, *rest)
        return seen["found"]

    model.field.forward = watched  # type: ignore[method-assign]
    parts = model.learn(batch, noise).losses.parts
    spectrum, _ = model.spectrogram.linear(batch.audio.wave, batch.audio.lengths)
    data = (model.spectrogram.log_mel(spectrum) - model.mel.mean) / model.mel.std
    point, velocity = transport(noise.noise, data, noise.time, model.objective.sigma_min)
    torch.testing.assert_close(seen["x"], point)
    torch.testing.assert_close(parts["flow"], (seen["found"] - velocity).square().mean().detach())
    torch.testing.assert_close(parts["mean"], (seen["condition"][:, :20] - data).square().mean().detach())
    assert set(parts) == {"flow", "mean", "duration", "mel", "stft"}


def test_it_learns_two_samples() -> None:
    model = small().train()
    batch = batch_of([10, 6])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history: list[dict[str, float]] = []
    for _ in range(25):
        losses = model.training_forward(batch, draws()).losses
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        history.append({name: float(value) for name, value in losses.parts.items()})
    for name in ("flow", "mean", "mel"):
        assert history[-1][name] < 0.9 * history[0][name], name


def test_every_weight_gets_a_gradient_and_durations_teach_the_style() -> None:
    model = small().train()
    model.training_forward(batch_of([10, 6]), draws()).losses.total.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    batch = batch_of([10])
    spectrum, frames = model.spectrogram.linear(batch.audio.wave, batch.audio.lengths)
    model.zero_grad(set_to_none=True)
    g = model.reference(spectrum, torch.ones(1, 1, int(frames[0])))[..., None]
    model.lengths.loss(torch.randn(1, 16, 10), torch.ones(1, 1, 10), torch.full((1, 1, 10), 3.0), g).sum().backward()
    assert any(bool(weight.grad.any()) for weight in model.reference.parameters() if weight.grad is not None)


def test_padding_changes_no_loss() -> None:
    model, both = small().eval(), batch_of([10, 6])
    noise = FlowDraws(torch.randn(2, 20, 25, generator=draws()), torch.tensor([0.3, 0.6]), torch.zeros(2))
    together = float(model.learn(both, noise).losses.parts["flow"])
    alone = []
    for row, (num_units, frames) in enumerate(((10, 25), (6, 15))):
        own = slice(row, row + 1)
        one = VoiceBatch(
            replace(both.units, codes=both.units.codes[own, :, :num_units], lengths=both.units.lengths[own]),
            Audio(both.audio.wave[own, : num_units * 640], both.audio.lengths[own], 16_000),
            both.durations[own, :num_units],
        )
        given = FlowDraws(noise.noise[own, :, :frames], noise.time[own], noise.start[own])
        alone.append(frames * float(model.learn(one, given).losses.parts["flow"]))
    assert together == pytest.approx(sum(alone) / 40, rel=1e-4)


def test_style_vectors_are_those_of_single_recordings() -> None:
    model, audio = small(), batch_of([9, 4]).audio
    vectors = model.style_vectors(audio)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    alone = model.style_vectors(Audio(audio.wave[1:, : 4 * 640], audio.lengths[1:], 16_000))
    torch.testing.assert_close(vectors[1:], alone)


def test_without_style_there_is_no_conditioning() -> None:
    model = small(style_dim=0, style_space=None)
    assert not any(name.startswith(("reference", "tint", "field.style")) for name in model.state_dict())
    assert model.style_vectors(batch_of([4]).audio) is None
    assert model.decode(units_of([4]), Style(), draws()).wave.any()
    with pytest.raises(ContractError, match="without a style input"):
        model.decode(units_of([4]), style_of(1), draws())


def test_the_vocoder_is_bound_to_the_mel_and_to_nothing_else() -> None:
    model, units = small(), units_of([4])
    port = contract_of(CfmMel, model.parameters_given).gives["mel"]
    assert port == model.vocoder.port
    before = model.decode(units, style_of(1), draws()).wave
    model.use_vocoder(IstftVocoder(port, model.mel.mean, model.mel.std, hidden_dim=8, ffn_dim=8, num_layers=1))
    assert not torch.equal(before, model.decode(units, style_of(1), draws()).wave)
    other = MelPort(**{**vars(port), "hop_size": 200, "norm": "htk"})
    with pytest.raises(ContractError, match=r"hop_size 200 instead of 256, norm 'htk'"):
        model.use_vocoder(IstftVocoder(other, 0.0, 1.0, hidden_dim=8, ffn_dim=8, num_layers=1))


def test_the_stage_trains_it_as_it_is(tmp_path: Path) -> None:
    units = UnitsPort(codebooks=(16,), rate=Fraction(25), layout="frame", vocab_id="units-1")
    module = DetokenizerStage(small(), Optim(lr=1e-3, steps=4), units=units, start=1)
    batch = batch_of([10, 6])
    item = VoiceRecordings(batch.units.codes, batch.units.lengths, batch.durations, batch.audio)
    adversary = [weight.detach().clone() for weight in module.discriminator.parameters()]
    trainer = lightning.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, DataLoader([item] * 2, batch_size=None), DataLoader([item], batch_size=None))
    said = {"loss", "flow", "mean", "mel", "stft", "duration", "discriminator", "generator", "valid_flow"}
    assert said <= set(trainer.callback_metrics)
    assert any(not torch.equal(old, new) for old, new in zip(adversary, module.discriminator.parameters(), strict=True))


@pytest.mark.parametrize(
    ("error", "says", "change"),
    [
        (WeightsError, "vocabulary 'units-2'", {"vocab_id": "units-2"}),
        (ContractError, "codebooks of", {"sizes": (32,)}),
        (ContractError, "layout 'reduced'", {"layout": "reduced"}),
        (DataError, "row 0, codebook 0, step 0", {"codes": torch.full((1, 1, 3), 16)}),
        (DataError, "1 to 3 units", {"lengths": torch.tensor([0])}),
        (DataError, "600 s", {"codes": torch.zeros(1, 1, 15_000, dtype=torch.long), "lengths": torch.tensor([15_000])}),
    ],
)
def test_units_it_refuses(error: type[OmnikitError], says: str, change: dict[str, Any]) -> None:
    with pytest.raises(error, match=says):
        small().decode(replace(units_of([3]), **change), style_of(1), draws())


@pytest.mark.parametrize(
    ("error", "says", "settings"),
    [
        (OmnikitError, "num_steps is 0", {"num_steps": 0}),
        (OmnikitError, "temperature is -1", {"temperature": -1.0}),
        (OmnikitError, "temperature is nan", {"temperature": float("nan")}),
        (DataError, r"shape \[1, 2\]; \[1, 3\]", {"durations": torch.ones(1, 2)}),
        (DataError, "none below 0", {"durations": torch.tensor([[1.0, -1.0, 3.0]])}),
        (DataError, "none below 0", {"durations": torch.tensor([[1.0, float("nan"), 3.0]])}),
        (DataError, "1 or more in all", {"durations": torch.zeros(1, 3)}),
    ],
)
def test_settings_it_refuses(error: type[OmnikitError], says: str, settings: dict[str, Any]) -> None:
    with pytest.raises(error, match=says):
        small().decode(units_of([3]), style_of(1), draws(), **settings)


def test_batches_it_refuses() -> None:
    model, batch = small(), batch_of([10, 6])
    with pytest.raises(DataError, match="known durations"):
        model.training_forward(replace(batch, durations=None), draws())
    with pytest.raises(DataError, match="add up to 100 frames"):
        model.training_forward(replace(batch, durations=torch.full((2, 10), 10.0)), draws())
    with pytest.raises(ContractError, match="8000 Hz"):
        model.training_forward(replace(batch, audio=replace(batch.audio, sample_rate=8000)), draws())
    with pytest.raises(MediaError, match="shorter than one frame"):
        model.training_forward(replace(batch, audio=replace(batch.audio, lengths=torch.tensor([6400, 100]))), draws())


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("do not go together", {"mel": {"fft_size": 1024, "hop_size": 255}}),
        ("mel.std is 0", {"mel": {"std": 0.0}}),
        ("cannot be shared", {"unit_encoder": {"hidden_dim": 15}}),
        ("Did you mean 'num_layers'", {"field": {"num_layer": 3}}),
        ("not known yet", {"codebooks": DERIVED}),
    ],
)
def test_parameters_it_refuses(says: str, change: dict[str, Any]) -> None:
    with pytest.raises(OmnikitError, match=says):
        small(**change)


def test_contract_before_and_after_derivation() -> None:
    contract = contract_of(CfmMel, bind_parameters("detokenizer/cfm_mel", CfmMel, {}))
    assert contract.needs["units"].vocab_id == Free("vocab_id")
    assert contract.needs["units"].layout == "frame"
    assert contract.gives["mel"].hop_size == 256
    with pytest.raises(UnknownName, match="Did you mean 'hop_size'"):
        contract_of(CfmMel, {**bind_parameters("detokenizer/cfm_mel", CfmMel, SMALL), "mel": {"hop_siz": 1}})
