"""What a language stage reads of recordings: features or tone, in their place, counted before they are heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import omnikit
from omnikit.data.language_batches import LanguageSample, Sound, UserInput, language_samples, read_batch
from omnikit.data.media import write_audio
from omnikit.data.tone_batches import ToneBatches, ToneItem, tone_items
from omnikit.errors import DataError
from omnikit.slots.backbone import Segment
from omnikit.slots.hearing import Hearing
from omnikit.stages.language import LanguageStage, prompt_of, sequence_of
from omnikit.stages.optim import Optim

RATE = 16_000
SPEECH = {"family": "hubert", "dim": 16, "layers": 1, "heads": 2, "ffn_dim": 16, "conv_dim": 8}
UNITS: dict[str, Any] = {"codebooks": [16], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
TONE = {"hidden_dim": 8, "dim": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of half a second and a third."""
    path = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for name, size in (("a", RATE // 2), ("b", RATE // 3)):
        write_audio(path / f"{name}.flac", 0.1 * rng.standard_normal(size).astype(np.float32), RATE)
    return path


def hearing(kind: str) -> Hearing:
    torch.manual_seed(0)
    if kind == "features":
        encoder = omnikit.create("speech_encoder/hf", model=SPEECH, out_dim=0)
        return Hearing(encoder, omnikit.create("projector/mlp", in_dim=16, out_dim=32))
    if kind == "prefix":
        return Hearing(input_style=omnikit.create("input_style/embed_prefix", positions=2, out_dim=32, **TONE))
    return Hearing(input_style=omnikit.create("input_style/tags", factors={"emotion": ["ill", "fit"]}, **TONE))


def stage_of(ears: Hearing, rates: dict[str, float], form: str = "json") -> LanguageStage:
    backbone = omnikit.create("backbone/hf_causal", hidden=32, layers=1, heads=2, kv_heads=1, intermediate=32, **UNITS)
    stage = LanguageStage(
        omnikit.create("vision_encoder/timm", image_size=32, dim=16, depth=1, heads=2),
        omnikit.create("projector/mlp", in_dim=16, out_dim=32),
        backbone,
        omnikit.create(f"format/{form}"),
        Optim(lr=1e-3, steps=2),
        rates,
        hearing=ears,
    )
    stage.log = stage.log_dict = lambda *_, **__: None
    return stage


def samples(ears: Hearing) -> list[LanguageSample]:
    messages = [
        {"role": "user", "text": "is it?", "audio": {"path": "a.flac", "duration_s": 0.5}, "units": [1, 2, 3]},
        {"role": "assistant", "text": "it is."},
        {"role": "user", "text": "sure?", "audio": {"path": "b.flac", "duration_s": 1 / 3}, "units": [4]},
        {"role": "assistant", "text": "yes."},
    ]
    for message in messages[::2]:
        message["style"] = {"emotion": "sad", "pitch": "low", "speed": "slow", "gender": "male"}
    kept = {"user_units": ears.reads_units, "user_sound": ears.sample_rate is not None}
    return language_samples([{"id": "x", "messages": messages}], ["dialogue"], {}, **kept)["dialogue"]


@pytest.mark.parametrize("kind", ["features", "prefix", "tags"])
def test_recordings_are_read_where_units_stand(folder: Path, kind: str) -> None:
    ears = hearing(kind)
    stage = stage_of(ears, {"backbone": 1e-3})
    sample = samples(ears)[1]
    assert [sound.path for sound in sample.sounds] == ["a.flac", "b.flac"]
    batch = read_batch(folder, [sample], 32, ears.sample_rate)
    read = stage.see(batch)
    prompt = prompt_of(sample, read, stage.format)
    marks = [place for place, segment in enumerate(prompt) if segment.control == "speech"]
    assert len(marks) == 2
    for mark in marks:
        inside = prompt[mark + 1 : [segment.control for segment in prompt].index("/speech", mark)]
        assert all(segment.is_speech for segment in inside)
        assert [segment.units is None for segment in inside] == ([True] if kind == "features" else [True, False])
    if kind != "tags":  # the stand-in of a tag is its longest one
        assert stage.count(sample) == stage.backbone.count_tokens(
            sequence_of(sample, read, stage.format, stage.backbone)
        )


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("features", {"speech_encoder", "speech_projector"}), ("prefix", {"input_style"}), ("tags", set())],
)
def test_what_hears_learns_with_the_backbone_unless_it_has_a_stage_of_its_own(
    folder: Path, kind: str, parts: set[str]
) -> None:
    ears = hearing(kind)
    rates = {name: 1e-3 for name in ("speech_encoder", "speech_projector", "input_style") if getattr(ears, name)}
    stage = stage_of(ears, {"backbone": 1e-3, **rates}).train()
    optimizer = stage.configure_optimizers()["optimizer"]
    assert {group["name"] for group in optimizer.param_groups} == {"backbone", *parts}
    before = {name: weight.clone() for name, weight in stage.named_parameters()}
    stage.training_step(read_batch(folder, samples(ears), 32, ears.sample_rate), 0).backward()
    optimizer.step()
    changed = {name.split(".")[0] for name, weight in stage.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {"backbone", *parts}


def test_how_the_user_speaks_is_taught_where_the_format_says_it() -> None:
    ears = Hearing()
    sample = samples(ears)[0]
    for form, told in (("emova_json", True), ("json", False)):
        stage = stage_of(ears, {"backbone": 1e-3}, form)
        written = sequence_of(sample, {}, stage.format, stage.backbone)
        text = "".join(segment.text or "" for segment in written if segment.train)
        assert ('"user question emotion": "sad"' in text) == told


def test_units_without_their_recording_are_refused_where_it_is_listened_to() -> None:
    record = {"id": "x", "messages": [{"role": "user", "text": "is it?", "units": [1]}]}
    with pytest.raises(DataError, match="without their recording"):
        language_samples([record], ["asr"], {}, user_sound=True)


def test_nothing_is_read_of_a_recording_without_parts_that_hear() -> None:
    def never(rate: int) -> Any:
        raise AssertionError("no part hears")

    assert Hearing().read(never, [((1, 2),)]) == [(Segment(units=((1, 2),)),)]
    assert Hearing().sample_rate is None and Hearing().reads_units


def test_tones_come_in_batches_that_their_number_decides(folder: Path) -> None:
    records = [
        {
            "messages": [
                {"role": "user", "audio": {"path": f"{name}.flac", "duration_s": 0.5}, "style": {"emotion": name}}
            ]
        }
        for name in "ab"
    ]
    items = tone_items([*records, {"messages": [{"role": "assistant", "text": "no sound"}]}])
    assert items == [ToneItem("a.flac", 0.5, {"emotion": "a"}), ToneItem("b.flac", 0.5, {"emotion": "b"})]
    make = {"batch_s": 0.6, "sample_rate": RATE, "num_batches": 4, "seed": 0}
    batches = ToneBatches(folder, items, **make)
    later = ToneBatches(folder, items, **make, start=2)
    for index in range(2):
        assert torch.equal(batches[index + 2].audio.wave, later[index].audio.wave)
        assert len(later[index].labels) == len(later[index].audio.lengths)
    with pytest.raises(DataError, match="style labels"):
        tone_items([{"messages": [{"role": "user", "text": "typed"}]}])


def test_sounds_of_a_sample_are_those_of_all_its_turns() -> None:
    past = ((UserInput(sound=Sound("a.flac", 0.5)), "yes"),)
    sample = LanguageSample("dialogue", UserInput(text="and now?"), "no", history=past)
    assert sample.sounds == [Sound("a.flac", 0.5)] and len(sample.inputs) == 2
