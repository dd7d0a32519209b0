"""`detokenizer/unit_hifigan`: the promises of its slot, the package's sound, weights, and what it refuses."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from speechbrain.lobes.models.HifiGAN import UnitHifiganGenerator

import omnikit
import omnikit.testing
from omnikit.artefacts import load_component, read_card
from omnikit.cli import main as omnikit_command
from omnikit.errors import ContractError, DataError, OmnikitError, WeightsError
from omnikit.slots.detokenizer import VoiceBatch
from omnikit.types import Audio, Style, Units

SIZES = {"dim": 6, "channels": 8, "ratios": [8, 5], "kernels": [16, 11], "res_kernels": [3, 5], "predictor_dim": 4}
SMALL: dict[str, Any] = {"codebooks": [12], "vocab_id": "conformance", **SIZES}
BOOKS: dict[str, Any] = {**SMALL, "codebooks": [5, 7]}
REDUCED: dict[str, Any] = {**SMALL, "layout": "reduced"}


def made(**changes: Any) -> Any:
    torch.manual_seed(1)
    return omnikit.create("detokenizer/unit_hifigan", **{**SMALL, **changes}).eval()


def units_for(voice: Any, *lengths: int) -> Units:
    draws = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.randint(size, (len(lengths), max(lengths)), generator=draws) for size in voice.sizes], 1)
    codes = codes * (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])[:, None]
    return Units(codes, torch.tensor(lengths), voice.sizes, Fraction(400), voice.vocab_id, voice.layout)


def spoken(voice: Any, units: Units, durations: torch.Tensor | None = None) -> Audio:
    return voice.decode(units, Style(), torch.Generator(), durations)


@pytest.mark.parametrize("changes", [SMALL, REDUCED], ids=["frame", "reduced"])
def test_conformance(changes: dict[str, Any]) -> None:
    results = omnikit.testing.check("detokenizer/unit_hifigan", **changes)
    assert [str(result) for result in results if result.failed] == []


def original(voice: Any, reduced: bool = False) -> UnitHifiganGenerator:
    """The package's own generator with the voice's weights."""
    pooling = "none" if len(voice.sizes) == 1 else "attention"
    generator = UnitHifiganGenerator(
        6, 1, "1", [[1, 3, 5]] * 2, [3, 5], [16, 11], 8, [8, 5],
        vocab_size=13, embedding_dim=6, attn_dim=4, duration_predictor=reduced, var_pred_hidden_dim=4,
        pooling_type=pooling,
    )  # fmt: skip
    generator.load_state_dict(voice.generator.state_dict())
    return generator.eval()


@pytest.mark.parametrize(("changes", "first"), [(SMALL, [1]), (BOOKS, [1, 6])], ids=["one", "two"])
def test_its_sound_is_that_of_the_package(changes: dict[str, Any], first: list[int]) -> None:
    voice = made(**changes)
    units = units_for(voice, 9, 14)
    sound = spoken(voice, units)
    assert sound.lengths.tolist() == [9 * 40, 14 * 40]
    theirs = original(voice)
    for row, length in enumerate(units.lengths.tolist()):
        codes = units.codes[row, :, :length].T + torch.tensor(first)  # [T, K]
        assert torch.allclose(sound.wave[row, : 40 * length], theirs.inference(codes[None])[0, 0], atol=1e-6)


def test_merged_units_last_as_long_as_the_package_says() -> None:
    voice = made(**REDUCED)
    with torch.no_grad():
        voice.generator.var_predictor.proj.weight.mul_(20)  # so that units last differently
        voice.generator.var_predictor.proj.bias.fill_(1.5)
    units = units_for(voice, 9)
    theirs = original(voice, reduced=True).inference(units.codes.transpose(1, 2) + 1)[0, 0]
    sound = spoken(voice, units)
    assert len(theirs) > 9 * 40 and torch.allclose(sound.wave[0], theirs, atol=1e-6)
    told = torch.arange(9)[None] % 3 + 1
    assert int(spoken(voice, units, told).lengths) == 40 * int(told.sum())


def test_rows_too_short_to_be_mirrored_are_made_longer_and_cut() -> None:
    voice = made()
    least = voice.least_frames
    with pytest.raises(RuntimeError, match="adding size should be less"):
        voice._waves(torch.zeros(1, 1, least - 1, dtype=torch.long))
    assert voice._waves(torch.zeros(1, 1, least, dtype=torch.long)).shape == (1, 40 * least)
    assert spoken(voice, units_for(voice, 1)).lengths.tolist() == [40]
    assert omnikit.create("detokenizer/unit_hifigan", codebooks=[4], vocab_id="x", channels=32).least_frames == 6


@pytest.mark.parametrize("changes", [SMALL, REDUCED], ids=["frame", "reduced"])
def test_a_step_down_its_gradient_lowers_the_loss(changes: dict[str, Any]) -> None:
    voice = made(**changes)
    units = units_for(voice, 30, 40)
    wave = 0.3 * torch.sin(torch.arange(4_800) / 5).expand(2, -1)
    durations = torch.full((2, 40), 3)
    batch = VoiceBatch(units, Audio(wave, torch.tensor([3_600, 4_800]), 16_000), durations)
    optimizer, found = torch.optim.Adam(voice.parameters(), 1e-3), []
    for _ in range(6):
        output = voice.training_forward(batch, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        output.losses.total.backward()
        optimizer.step()
        found.append(float(output.losses.total.detach()))
    assert output.real.shape == output.fake.shape == (2, 1, 28 * 40)
    assert found[-1] < found[0]
    assert ("duration" in output.losses.parts) == (voice.layout == "reduced")


def test_recordings_that_cannot_teach_are_refused() -> None:
    voice = made(**REDUCED)
    units = units_for(voice, 30)
    sound = Audio(torch.zeros(1, 4_800), torch.tensor([4_800]), 16_000)
    with pytest.raises(DataError, match="no durations"):
        voice.training_forward(VoiceBatch(units, sound), torch.Generator())
    with pytest.raises(DataError, match="leave it out"):
        short = Audio(sound.wave[:, :40], torch.tensor([40]), 16_000)
        voice.training_forward(VoiceBatch(units, short, torch.ones(1, 30, dtype=torch.long)), torch.Generator())


# ---- weights


def saved(voice: Any, path: Path, old_names: bool = False) -> None:
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for name, value in voice.generator.state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old) if old_names else name
        state[name] = value
    state["attn_pooling.0.weight"] = state.get("attn_pooling.0.weight", torch.zeros(4, 6))  # older ones have it too
    torch.save(state, path)


@pytest.mark.parametrize("old_names", [False, True], ids=["today", "weight_g"])
def test_a_checkpoint_becomes_a_part(tmp_path: Path, old_names: bool) -> None:
    from omnikit_speechbrain.pretrained import main

    voice = made(**REDUCED)
    saved(voice, tmp_path / "generator.ckpt", old_names)
    words = ["unit_hifigan", "--checkpoint", str(tmp_path / "generator.ckpt"), "--out", str(tmp_path / "part")]
    assert main([*words, "--ratios", "8,5"]) == 0
    loaded = load_component(tmp_path / "part")
    assert loaded.layout == "reduced" and loaded.vocab_id.startswith("unit-hifigan-")
    assert read_card(tmp_path / "part")["provenance"]["licence"] == "Apache-2.0"
    own, other = units_for(loaded, 9), units_for(voice, 9)
    assert torch.equal(spoken(loaded, own).wave, spoken(voice, other).wave)
    assert main([*words, "--ratios", "8,5", "--vocab-id", "mine"]) == 0
    assert load_component(tmp_path / "part").vocab_id == "mine"


def test_several_codebooks_are_read_from_one_table(tmp_path: Path) -> None:
    from omnikit_speechbrain.pretrained_hifigan import load_hifigan

    voice = made(**BOOKS)
    saved(voice, tmp_path / "generator.ckpt")
    loaded = load_hifigan(tmp_path / "generator.ckpt", [5, 7], [8, 5], "conformance")
    units = units_for(voice, 9)
    assert torch.equal(spoken(loaded, units).wave, spoken(voice, units).wave)
    with pytest.raises(WeightsError, match="holds 12 ids, not 11"):
        load_hifigan(tmp_path / "generator.ckpt", [5, 6], [8, 5])
    with pytest.raises(WeightsError, match="as many kernels as ratios"):
        load_hifigan(tmp_path / "generator.ckpt", [5, 7])


def test_bad_checkpoints_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from omnikit_speechbrain.pretrained import main

    path = tmp_path / "x.ckpt"
    words = ["unit_hifigan", "--checkpoint", str(path), "--out", str(tmp_path / "part")]
    torch.save({"weight": torch.zeros(2)}, path)
    assert main(words) == 2
    assert "no checkpoint of SpeechBrain's UnitHifiganGenerator" in capsys.readouterr().err
    state = made().generator.state_dict()
    name = "conv_pre.conv.parametrizations.weight.original1"
    torch.save({**state, name: torch.zeros(8, 9, 7)}, path)
    assert main([*words, "--ratios", "8,5"]) == 2
    assert "numbers of a speaker" in capsys.readouterr().err
    assert main([*words, "--ratios", "8;5"]) == 2
    assert not (tmp_path / "part").exists()


# ---- systems


def test_a_system_speaks_by_it_and_a_style_is_not_applicable(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment=emova_tiny", "tokenizer.reduced=false", "detokenizer=unit_hifigan_tiny"]
    assert omnikit_command(["check", *words]) == 0
    assert "not applicable" in capsys.readouterr().out
    assert omnikit_command(["check", *words, "detokenizer=unit_hifigan"]) == 2
    assert "rate differs" in capsys.readouterr().err


def test_sizes_that_cannot_be_are_refused() -> None:
    wrong: list[dict[str, Any]] = [
        *({"layout": "events"}, {**BOOKS, "layout": "reduced"}, {"ratios": [8]}, {"channels": 6}),
        *({"kernels": [15, 11]}, {"kernels": [16, 3]}, {"res_kernels": [4]}, {"ratios": [], "kernels": []}),
    ]
    for changes in wrong:
        with pytest.raises(OmnikitError):
            made(**changes)
    from omnikit_speechbrain.unit_hifigan import UnitHifigan

    with pytest.raises(ContractError, match="Build it as part of a system"):
        UnitHifigan()
