"""Decoding of detokenizer/uvits: streams equal the whole, blocks change nothing, long rows fit, weights are current."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from detokenizers.seams import ends, ends_of_blocks, mean_rank
from detokenizers.small_uvits import LAYOUTS_AND_HEADS, SMALL, draws, small, style_of, units_of
from omnikit.contracts import contract_of
from omnikit.detokenizers import uvits_voice
from omnikit.detokenizers.uvits import UVITS
from omnikit.detokenizers.uvits_voice import Window
from omnikit.errors import ContractError, DataError, OmnikitError, WeightsError
from omnikit.slots.detokenizer import sound_of
from omnikit.types import Audio, Style, Units

LATENT = SMALL["latent"]
NARROW = Window(block=3, before=5, after=2)


def refined() -> UVITS:
    """With a prior at frame rate, which corrects something."""
    model = small("frame", "istft", latent={**LATENT, "frame_prior_layers": 1})
    torch.nn.init.normal_(model.frame_prior.proj.weight, std=0.3)
    return model


MODELS = [*LAYOUTS_AND_HEADS, ("refined", "istft"), ("frame", "source")]


def near(head: str) -> float:
    """How far apart samples may be: rounding of a pitch adds up in the phase of its high harmonics."""
    return 1e-4 if head == "source" else 1e-5


def made(layout: str, head: str) -> UVITS:
    return refined() if layout == "refined" else small(layout, head)


def given(model: UVITS, length: int) -> Units:
    return units_of([length], model.layout)


def cut(units: Units, sizes: Iterable[int]) -> Iterator[Units]:
    start = 0
    for size in sizes:
        codes = units.codes[..., start : start + size]
        yield replace(units, codes=codes, lengths=torch.tensor([codes.shape[-1]]))
        start += size


def joined(pieces: Iterable[Audio]) -> Tensor:
    waves = []
    for piece in pieces:
        assert piece.wave.shape == (1, int(piece.lengths[0])) and piece.wave.numel() and piece.sample_rate == 16_000
        waves.append(piece.wave)
    return torch.cat(waves, 1)


@pytest.mark.parametrize(("layout", "head"), MODELS)
@pytest.mark.parametrize("length", [1, 3, 60])
def test_a_stream_of_known_units_is_the_whole(layout: str, head: str, length: int) -> None:
    model = made(layout, head)
    units = given(model, length)
    whole = model.decode(units, style_of(1), draws()).wave
    torch.testing.assert_close(joined(model.stream(units, style_of(1), draws())), whole, atol=near(head), rtol=0)


@pytest.mark.parametrize(("layout", "head"), MODELS)
def test_how_arriving_units_are_cut_does_not_change_the_sound(layout: str, head: str) -> None:
    model = made(layout, head)
    units, style = given(model, 30), style_of(1)
    for window in (NARROW, Window()):
        whole = model.voice().decode(units, style, draws(), window=window).wave
        for sizes in ([30], [1] * 30, [7, 1, 2, 20]):
            sound = joined(model.stream(cut(units, sizes), style, draws(), window=window))
            torch.testing.assert_close(sound, whole, atol=near(head), rtol=0)
    wide = Window(block=3, before=100, after=100)
    torch.testing.assert_close(
        joined(model.stream(cut(units, [4] * 7 + [2]), style, draws(), window=wide)),
        model.decode(units, style, draws()).wave,
        atol=1e-4,
        rtol=0,
    )


def test_fewer_units_than_a_window_sound_as_the_whole() -> None:
    model, units = small("reduced"), units_of([5], "reduced")
    sound = joined(model.stream(cut(units, [1] * 5), style_of(1), draws()))
    torch.testing.assert_close(sound, model.decode(units, style_of(1), draws()).wave, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("layout", "head"), MODELS)
def test_blocks_of_frames_change_nothing(layout: str, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(layout, head)
    units, style = units_of([40, 9], model.layout), style_of(2)
    whole = model.decode(units, style, draws())
    for most, at_once in ((5, 3), (1, 1), (1000, 1000)):
        monkeypatch.setattr(uvits_voice, "_MOST_FRAMES", most)
        monkeypatch.setattr(uvits_voice, "_HEAD_FRAMES", at_once)
        again = model.decode(units, style, draws())
        assert torch.equal(again.lengths, whole.lengths)
        torch.testing.assert_close(again.wave, whole.wave, atol=near(head), rtol=0)


@pytest.mark.parametrize(("layout", "head"), MODELS)
def test_sound_comes_as_early_as_the_contract_says(layout: str, head: str) -> None:
    """When a moment is given, no units were taken that lie more than `lookahead_ms` after it."""
    model = made(layout, head)
    parameters = model.parameters_given
    contract = contract_of(UVITS, parameters)
    clock = Window().lookahead / 25 + (model.voice().reach + uvits_voice.ARRIVING_FRAMES - 1) * 256 / 16_000
    assert contract.lookahead_ms == pytest.approx(1000 * clock)
    units, taken = given(model, 80), []
    frames_per_unit = 2
    told = torch.full((1, 80), float(frames_per_unit))
    voice = model.voice()

    def watched() -> Iterator[Tensor]:
        for index in range(80):
            taken.append(index)
            yield units.codes[..., index : index + 1]

    g = style_of(1).vector[..., None]
    noise = uvits_voice.Noise(voice.latent_dim, draws(), voice.device)
    priors = voice._priors(watched(), noise, g, Window(), told)
    samples = 0
    for wave in voice.speak(priors, noise, g, repeat(uvits_voice.ARRIVING_FRAMES)):
        missing = samples // 256 + 1 + voice.reach + uvits_voice.ARRIVING_FRAMES - 1  # of the moment that comes now
        assert len(taken) <= missing / frames_per_unit + 1 + Window().lookahead or len(taken) == 80
        samples += wave.shape[1]
    assert samples == 80 * frames_per_unit * 256


def test_later_units_do_not_change_what_was_said() -> None:
    model, style = small("reduced", "hifigan"), style_of(1)
    units = units_of([60], "reduced")
    other = replace(units, codes=torch.cat([units.codes[..., :40], (units.codes[..., 40:] + 1) % 16], -1))
    one, two = (joined(model.stream(cut(each, [1] * 60), style, draws())) for each in (units, other))
    same = int((one[0, : two.shape[1]] != two[0, : one.shape[1]]).int().argmax())
    first_blocks = 40 - Window().lookahead - 1
    frames = first_blocks - model.voice().reach  # a unit of this layout lasts a frame or more
    assert same >= frames * 256 > 0
    assert not torch.equal(one[:, : two.shape[1]], two[:, : one.shape[1]])


def test_the_work_is_done_as_sound_is_asked_for() -> None:
    model, taken = small("frame", "istft"), []

    def watched() -> Iterator[Units]:
        for piece in cut(units_of([200]), [1] * 200):
            taken.append(piece)
            yield piece

    pieces = model.stream(watched(), style_of(1), draws())
    assert not taken
    next(pieces)
    assert len(taken) < 60
    torch.randn(3, requires_grad=True).sum().backward()  # gradients are on again between two pieces


@pytest.mark.parametrize(("layout", "head"), [("reduced", "hifigan"), ("frame", "source")])
@pytest.mark.parametrize("arriving", [False, True])
def test_borders_of_pieces_are_no_seams(layout: str, head: str, arriving: bool) -> None:
    """The spectral flux where pieces and blocks of units meet is what it is elsewhere."""
    model, style = small(layout, head), style_of(1)
    units = given(model, 150)
    pieces = [piece.wave[0] for piece in model.stream(cut(units, [1] * 150) if arriving else units, style, draws())]
    borders = ends(pieces)
    if arriving:
        borders = torch.cat([borders, ends_of_blocks(model, units, style, draws())])
    assert len(borders) >= (18 if arriving else 6)
    assert mean_rank(torch.cat(pieces), borders) < 0.65


class Largest(TorchFunctionMode):
    """The size of the largest tensor that any call made."""

    elements = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_memory_of_long_rows_is_that_of_their_sound() -> None:
    model, num_units = small("frame", "istft"), 1800
    with Largest() as largest:
        sound = model.decode(units_of([num_units]), style_of(1), draws())
    assert sound.wave.numel() > 1_000_000
    assert largest.elements <= max(sound.wave.numel(), 2 * 2**19 + 2**14)
    with Largest() as largest:
        for piece in model.stream(cut(units_of([400]), [10] * 40), style_of(1), draws()):
            assert piece.wave.numel() < 20_000
    assert largest.elements < 300_000


def test_ten_minutes_of_units_become_ten_minutes_of_sound() -> None:
    model, units = small("frame", "source"), units_of([15_000])
    with Largest() as largest:
        sound = model.decode(units, style_of(1), draws())
    assert sound.wave.shape == (1, int(sound.lengths[0])) and sound.wave.shape[1] > 15_000 * 256
    assert sound.wave.isfinite().all() and 0 < float(sound.wave.abs().max()) <= 1
    assert largest.elements <= sound.wave.numel()


@pytest.mark.parametrize("layout", ["frame", "reduced"])
def test_a_voice_holds_what_decoding_needs(layout: str) -> None:
    model = small(layout, "hifigan")
    units, style = units_of([6], layout), style_of(1)
    whole, voice = model.decode(units, style, draws()), model.voice()
    names = list(voice.state_dict())
    assert not [name for name in names if name.startswith(("enc_q", "enc_r", "dp.post_")) or "weight_g" in name]
    del model
    assert torch.equal(voice.decode(units, style, draws()).wave, whole.wave)


def test_decoding_uses_the_weights_as_they_are() -> None:
    model, units = small("reduced", "hifigan").train(), units_of([6], "reduced")

    def sound() -> Tensor:
        return model.decode(units, style_of(1), draws()).wave

    first = sound()
    assert model.voice() is model.voice() and torch.equal(sound(), first)
    with torch.no_grad():
        model.dec.conv_post.weight.mul_(0.5)
    assert not torch.allclose(sound(), first)
    model.dec.conv_post.weight.data.mul_(2)
    assert torch.equal(sound(), first)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.dec.conv_post.weight.zero_()
    assert not twin.decode(units, style_of(1), draws()).wave.any() and torch.equal(sound(), first)
    assert not [name for name in model.state_dict() if "voice" in name]
    model.noise_scale = 0.0
    assert not torch.allclose(sound(), first)


def test_bfloat16_is_near() -> None:
    units = units_of([40], "reduced")
    for head in ("hifigan", "istft"):
        model = small("reduced", head)
        exact = model.decode(units, style_of(1), draws()).wave
        model.precision = torch.bfloat16
        near = model.decode(units, style_of(1), draws()).wave
        assert near.dtype == torch.float32
        assert 10 * torch.log10(exact.square().mean() / (exact - near).square().mean()) > 30


def test_rows_have_noise_of_their_own_that_does_not_depend_on_padding() -> None:
    model, style = small("frame", "istft"), style_of(2)
    units = units_of([20, 4])
    long = replace(units, codes=torch.nn.functional.pad(units.codes, (0, 30)))
    assert torch.equal(model.decode(units, style, draws()).wave, model.decode(long, style, draws()).wave)
    twice = replace(units, codes=units.codes[:1].expand(2, -1, -1), lengths=torch.tensor([20, 20]))
    same = Style(vector=style.vector[:1], space_id="space-1")
    rows = model.decode(twice, same, draws()).wave
    assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize(
    ("error", "says", "units"),
    [
        (DataError, "one row", lambda: units_of([3, 3])),
        (DataError, "No units came", lambda: iter([])),
        (WeightsError, "vocabulary 'units-2'", lambda: iter([units_of([3]), units_of([3], vocab_id="units-2")])),
        (
            DataError,
            "does not exist",
            lambda: iter([units_of([3]), replace(units_of([1]), codes=torch.tensor([[[16]]]))]),
        ),
        (DataError, "1 to 3 units", lambda: iter([replace(units_of([3]), lengths=torch.tensor([0]))])),
        (DataError, "whole numbers", lambda: replace(units_of([3]), codes=torch.rand(1, 1, 3))),
        (DataError, "whole numbers", lambda: replace(units_of([3]), codes=torch.zeros(1, 3, dtype=torch.long))),
    ],
)
def test_streams_it_refuses(error: type[OmnikitError], says: str, units: Any) -> None:
    with pytest.raises(error, match=says):
        list(small().stream(units(), style_of(1), draws()))


def test_styles_it_refuses_before_any_unit_is_taken() -> None:
    def none_taken() -> Iterator[Units]:
        raise AssertionError
        yield

    broken = Style(vector=torch.tensor([[1.0, float("nan"), 0.0, 0.0]]), space_id="space-1")
    for style, says in ((Style(), "No style vector"), (broken, "not finite"), (style_of(2), "shape")):
        with pytest.raises(ContractError, match=says):
            small().stream(none_taken(), style, draws())
    with pytest.raises(ContractError, match="not finite"):
        small().decode(units_of([3]), broken, draws())


def test_sound_is_never_cut_silently(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert sound_of(torch.tensor([0.5, -1.0])).tolist() == [0.5, -1.0] and not caplog.records
        assert sound_of(torch.tensor([0.5, -3.0, 2.0])).tolist() == [0.5, -1.0, 1.0]
    assert "2 of 3 samples" in caplog.text and "peak 3" in caplog.text
    for number in (float("nan"), float("inf")):
        with pytest.raises(WeightsError, match="finite"):
            sound_of(torch.tensor([0.0, number]))
    model = small("reduced", "hifigan")
    torch.nn.init.constant_(model.dec.conv_post.weight, float("nan"))
    with pytest.raises(WeightsError, match="finite"):
        model.decode(units_of([3], "reduced"), style_of(1), draws())


@pytest.mark.parametrize("sizes", [{"block": 0}, {"after": 0}, {"before": -1}])
def test_windows_it_refuses(sizes: dict[str, int]) -> None:
    with pytest.raises(DataError, match="at least one unit"):
        Window(**sizes)
