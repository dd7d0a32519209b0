"""detokenizer/uvits: what it refuses, what it promises of its output, and that both layouts and heads learn."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch

from detokenizers.small_uvits import LAYOUTS_AND_HEADS, SMALL, batch_of, draws, small, style_of, units_of
from omnikit.contracts import DERIVED, Free, contract_of
from omnikit.detokenizers.uvits import UVITS
from omnikit.errors import ContractError, DataError, MediaError, OmnikitError, UnknownName, WeightsError
from omnikit.slots.base import bind_parameters
from omnikit.slots.detokenizer import VoiceBatch
from omnikit.types import Audio, Style, Units


@pytest.mark.parametrize(("layout", "head"), LAYOUTS_AND_HEADS)
def test_decode_repeats_with_the_generator_state(layout: str, head: str) -> None:
    model = small(layout, head).train()
    units, style = units_of([5, 3], layout), style_of(2)
    first, second, other = (model.decode(units, style, draws(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.wave, second.wave)
    assert torch.equal(first.lengths, second.lengths)
    length = min(first.wave.shape[1], other.wave.shape[1])
    assert not torch.equal(first.wave[:, :length], other.wave[:, :length])
    assert model.training
    assert first.wave.abs().max() <= 1
    assert first.sample_rate == 16_000


@pytest.mark.parametrize(("layout", "head"), LAYOUTS_AND_HEADS)
@pytest.mark.parametrize("length", [1, 2])
def test_short_inputs(layout: str, head: str, length: int) -> None:
    sound = small(layout, head).decode(units_of([length], layout), style_of(1), draws())
    assert sound.wave.shape[1] == int(sound.lengths[0]) > 0
    assert sound.wave.isfinite().all()


@pytest.mark.parametrize(("layout", "head"), LAYOUTS_AND_HEADS)
def test_a_batch_equals_singles(layout: str, head: str) -> None:
    model = small(layout, head)
    model.noise_scale = model.duration_noise_scale = 0.0
    units, style = units_of([7, 2, 4], layout), style_of(3)
    together = model.decode(units, style, draws())
    for row, length in enumerate(units.lengths.tolist()):
        single = replace(units, codes=units.codes[row : row + 1, :, :length], lengths=units.lengths[row : row + 1])
        alone = model.decode(single, Style(vector=style.vector[row : row + 1], space_id="space-1"), draws())
        samples = int(alone.lengths[0])
        assert samples == int(together.lengths[row])
        torch.testing.assert_close(together.wave[row, :samples], alone.wave[0], atol=2e-6, rtol=1e-4)
        assert not together.wave[row, samples:].any()


def test_frame_layout_lasts_the_rounded_sum_of_durations() -> None:
    model = small("frame").eval()
    units, style = units_of([9, 4]), style_of(2)
    mask = (torch.arange(9) < units.lengths[:, None])[:, None].float()
    with torch.no_grad():
        hidden, _, _ = model.enc_p(units.codes * mask.long(), mask)
        real = (model.dp.log_durations(hidden, mask, style.vector[..., None]).exp() * mask).sum((1, 2))
    sound = model.decode(units, style, draws())
    assert sound.lengths.tolist() == (real.round().long() * 256).tolist()


def test_style_changes_the_sound() -> None:
    model = small("reduced", "hifigan")
    one, other = (
        model.decode(units_of([4], "reduced"), Style(vector=vector, space_id="space-1"), draws())
        for vector in (torch.ones(1, 4), -torch.ones(1, 4))
    )
    length = min(one.wave.shape[1], other.wave.shape[1])
    assert not torch.equal(one.wave[:, :length], other.wave[:, :length])


def test_style_vectors_are_those_of_single_recordings() -> None:
    model = small()
    audio = batch_of("frame", [9, 4]).audio
    vectors = model.style_vectors(audio)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    alone = model.style_vectors(Audio(audio.wave[1:, : 4 * 640], audio.lengths[1:], 16_000))
    torch.testing.assert_close(vectors[1:], alone)


@pytest.mark.parametrize(("layout", "head"), LAYOUTS_AND_HEADS)
def test_it_learns_two_samples(layout: str, head: str) -> None:
    model = small(layout, head, objective={"segment_frames": 64}).train()
    batch = batch_of(layout, [10, 6])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    totals = []
    for _ in range(20):
        losses = model.training_forward(batch, draws()).losses
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        totals.append(losses.total.item())
    assert set(losses.parts) == {"mel", "kl", "duration"}
    assert totals[-1] < 0.85 * totals[0]


@pytest.mark.parametrize(("layout", "head"), LAYOUTS_AND_HEADS)
def test_every_weight_gets_a_gradient(layout: str, head: str) -> None:
    model = small(layout, head).train()
    model.training_forward(batch_of(layout, [10, 6]), draws()).losses.total.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_training_forward_repeats_with_the_generator_state() -> None:
    model, batch = small(), batch_of("frame", [10, 6])
    first, second, other = (model.training_forward(batch, draws(seed)).losses.total for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_utterances_shorter_than_the_segment_are_padded_with_silence() -> None:
    model = small("frame", objective={"segment_frames": 64})
    voice = model.training_forward(batch_of("frame", [4, 2]), draws())
    assert voice.real.shape == voice.fake.shape == (2, 1, 64 * 256)
    assert not voice.real[1, 0, 5 * 256 :].any()
    assert not voice.fake[1, 0, 5 * 256 :].any()


def test_without_style_there_is_no_conditioning() -> None:
    model = small(style_dim=0, style_space=None)
    assert not any("cond" in name or name.startswith("enc_r") for name in model.state_dict())
    assert model.style_vectors(batch_of("frame", [4]).audio) is None
    assert model.decode(units_of([4]), Style(), draws()).wave.any()
    with pytest.raises(ContractError, match="without a style input"):
        model.decode(units_of([4]), style_of(1), draws())


def test_several_codebooks() -> None:
    model = small(codebooks=[16, 8])
    codes = torch.stack([torch.arange(5), torch.arange(5)])[None]
    units = Units(codes, torch.tensor([5]), (16, 8), Fraction(25), "units-1")
    assert model.decode(units, style_of(1), draws()).wave.any()
    with pytest.raises(DataError, match="codebook 1, step 3"):
        model.decode(replace(units, codes=codes + torch.tensor([0, 5])[:, None]), style_of(1), draws())


@pytest.mark.parametrize(
    ("error", "says", "change"),
    [
        (WeightsError, "vocabulary 'units-2'", {"vocab_id": "units-2"}),
        (ContractError, "codebooks of", {"sizes": (32,)}),
        (ContractError, "layout 'reduced'", {"layout": "reduced"}),
        (DataError, "row 0, codebook 0, step 0", {"codes": torch.full((1, 1, 3), 16)}),
        (DataError, "1 to 3 units", {"lengths": torch.tensor([0])}),
    ],
)
def test_units_it_refuses(error: type[OmnikitError], says: str, change: dict[str, Any]) -> None:
    with pytest.raises(error, match=says):
        small().decode(replace(units_of([3]), **change), style_of(1), draws())


@pytest.mark.parametrize(
    ("says", "style"),
    [
        ("No style vector", Style()),
        ("space 'space-2'", Style(vector=torch.zeros(1, 4), space_id="space-2")),
        ("shape", Style(vector=torch.zeros(1, 5), space_id="space-1")),
        ("shape", Style(vector=torch.zeros(3, 4), space_id="space-1")),
    ],
)
def test_styles_it_refuses(says: str, style: Style) -> None:
    with pytest.raises(ContractError, match=says):
        small().decode(units_of([3]), style, draws())


def test_batches_it_refuses() -> None:
    model, batch = small(), batch_of("frame", [10, 6])
    with pytest.raises(DataError, match="known durations"):
        model.training_forward(replace(batch, durations=None), draws())
    with pytest.raises(DataError, match="add up to 100 frames"):
        model.training_forward(replace(batch, durations=torch.full((2, 10), 10.0)), draws())
    with pytest.raises(ContractError, match="8000 Hz"):
        model.training_forward(replace(batch, audio=replace(batch.audio, sample_rate=8000)), draws())
    with pytest.raises(MediaError, match="shorter than one frame"):
        model.training_forward(replace(batch, audio=replace(batch.audio, lengths=torch.tensor([6400, 100]))), draws())
    with pytest.raises(DataError, match="only 5 output frames"):
        audio = Audio(batch.audio.wave[:, :1280], torch.tensor([1280, 1280]), 16_000)
        small("reduced").training_forward(VoiceBatch(units_of([10, 6], "reduced"), audio), draws())


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("num_layer", {"unit_encoder": {"num_layer": 3}}),
        ("hop size", {"head": "hifigan", "hifigan": {"rates": [4, 4], "rate_kernels": [8, 8]}}),
        ("cannot be shared", {"unit_encoder": {"hidden_dim": 15}}),
        ("is odd", {"latent": {"dim": 7}}),
        ("bool", {"reference": {"compress": 3}}),
        ("Did you mean 'istft'", {"head": "istf"}),
        ("reduced", {"layout": "merged"}),
        ("not known yet", {"codebooks": DERIVED}),
    ],
)
def test_parameters_it_refuses(says: str, change: dict[str, Any]) -> None:
    with pytest.raises(OmnikitError, match=says):
        small(**change)


def test_an_unknown_key_is_an_unknown_name() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'flow_layers'"):
        small(latent={"flow_layer": 3})


def test_contract_before_and_after_derivation() -> None:
    contract = contract_of(UVITS, bind_parameters("detokenizer/uvits", UVITS, {"layout": "frame"}))
    assert contract.needs["units"].vocab_id == Free("vocab_id")
    assert contract.needs["style"].dim == Free("style_dim")
    assert contract.needs["units"].layout == "frame"
    known = contract_of(UVITS, bind_parameters("detokenizer/uvits", UVITS, SMALL))
    assert known.needs["units"].codebooks == (16,)
    assert known.gives["audio"].sample_rate == 16_000


def test_it_can_be_made_again_from_its_parameters() -> None:
    model = small("reduced", "hifigan")
    again = UVITS(**model.parameters_given)
    again.load_state_dict(model.state_dict())
    one, other = (each.decode(units_of([4], "reduced"), style_of(1), draws()) for each in (model, again))
    assert torch.equal(one.wave, other.wave)
