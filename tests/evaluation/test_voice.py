"""Control and quality of a voice: planted speech moves what was planted, and the tables and the page say so."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soxr
import torch

from omnikit.cli import main
from omnikit.data.prosody import style_rule
from omnikit.data.style_recordings import ENERGY_STEP_DB
from omnikit.errors import UnknownName
from omnikit.evaluation import voice_control, voice_quality, voice_takes
from omnikit.evaluation.figures import Figure
from omnikit.evaluation.judge import judge_all
from omnikit.evaluation.material import chosen, waves_of
from omnikit.evaluation.voice_control import (
    Manners,
    Pair,
    Take,
    changes,
    control_figures,
    default_styles,
    pairs,
    speaker_of,
)
from omnikit.evaluation.voice_listener import Listener, timbre, train_listener
from omnikit.evaluation.voice_similarity import Voiceprints
from omnikit.evaluation.voice_tables import voice_tables
from omnikit.metrics.prosody import semitones
from omnikit.metrics.voice import Voice
from omnikit.styles.label_centroid import LabelCentroid
from omnikit.system import System
from omnikit.wiring import Node

RATE = 16_000
CFM_MEL: dict[str, Any] = {
    "sample_rate": 16_000,
    "mel": {"fft_size": 512, "hop_size": 128, "num_mels": 20, "max_hz": 8000.0},
    "unit_encoder": {"hidden_dim": 16, "filter_dim": 16, "num_layers": 1},
    "duration": {"filter_dim": 8},
    "field": {"hidden_dim": 16, "ffn_dim": 16, "num_layers": 1},
    "vocoder": {"hidden_dim": 16, "ffn_dim": 16, "num_layers": 1},
}
FACTORS = {"gender": ("female", "male"), "emotion": ("neutral", "sad"), "speed": ("normal", "slow", "fast")}


def buzz(hz: float, seconds: float, level: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 12))
    return (level * wave / np.sqrt(np.mean(np.square(wave)))).astype(np.float32)


def obedient(
    system: System, units: Any, labels: Mapping[str, str], seed: int, reference: Path | None = None
) -> np.ndarray:
    """A voice that does what the rule says."""
    assert reference is None, "labels tell the style"
    rule = style_rule({name: value for name, value in labels.items() if name != "gender"})
    base = 210 if labels["gender"] == "female" else 110
    return buzz(base * 2 ** (rule.semitones / 12), 1.0 * rule.duration_factor, 0.05 * rule.gain)


def by_name(figures: list[Figure]) -> dict[tuple[str, str], Figure]:
    return {(figure.name, figure.group): figure for figure in figures}


def test_styles_are_changed_one_factor_at_a_time() -> None:
    assert default_styles(FACTORS) == [
        {"gender": "female", "emotion": "neutral", "speed": "normal"},
        {"gender": "male", "emotion": "neutral", "speed": "normal"},
    ]
    assert list(changes(FACTORS)) == [("emotion", "sad"), ("speed", "slow"), ("speed", "fast")]
    assert default_styles({}) == [{}] and list(changes({})) == []


def test_who_speaks_is_no_change_of_style() -> None:
    """A table of `omnikit style make --factors speaker,emotion,energy`: its speakers are told apart, not judged."""
    factors = {"speaker": ("f3", "m3"), "emotion": ("neutral", "sad"), "energy": ("normal", "high", "low")}
    assert [own["speaker"] for own in default_styles(factors)] == ["f3", "m3"]
    assert list(changes(factors)) == [("emotion", "sad"), ("energy", "high"), ("energy", "low")]
    both = default_styles({**factors, "gender": ("female", "male")})
    assert [speaker_of(own) for own in both] == ["f3 female", "f3 male", "m3 female", "m3 male"]
    take = Take(Voice(1.0, 100.0, -26.0, -8.0), 0, 10)
    assert Pair("a", "energy=high", both[0], take, take).id == "a f3 female energy=high"
    assert Pair("a", "energy=high", {"gender": "male"}, take, take).id == "a male energy=high"


def test_a_speaker_has_the_gender_that_it_was_recorded_with(corpus: Path) -> None:
    factors = {"speaker": ["f3", "m3"], "gender": ["female", "male"], "emotion": ["neutral", "sad"]}
    module = LabelCentroid(dim=2, factors=factors)
    heard = [{"speaker": "f3", "gender": "female"}, {"speaker": "m3", "gender": "male"}]
    module.fit(torch.eye(2), heard, "space")
    system = cast(System, SimpleNamespace(part=lambda slot: module))
    (record,) = chosen(corpus, "voice.test", 1, 0)
    spoken_as = [[speaker_of(manner.labels) for manner in own] for own in Manners(system, corpus).of(record, 0)]
    assert spoken_as == [["f3 female"] * 2, ["m3 male"] * 2]


def test_energy_has_the_rule_of_its_step() -> None:
    default = Take(Voice(1.0, 100.0, -26.0, -8.0), 0, 10)
    louder = Take(Voice(1.0, 100.0, -22.5, -8.0), 0, 10)
    assert Pair("a", "energy=high", {}, louder, default).rule == {"duration": 0.0, "F0": 0.0, "level": ENERGY_STEP_DB}
    assert Pair("a", "energy=low", {}, louder, default).rule["level"] == -ENERGY_STEP_DB
    figures = by_name(control_figures([Pair("a", f"energy={value}", {}, louder, default) for value in ("high", "low")]))
    assert figures["level moves in the declared direction", "energy=high"].value == 100.0
    assert figures["level moves in the declared direction", "energy=low"].value == 0.0
    assert figures["level off the rule", "energy=high"].value == pytest.approx(1.0)
    assert figures["level moved", "energy=high"].how == "the rule says +2.5"
    assert ("level moved unasked", "energy=high") not in figures


def test_an_obedient_voice_reaches_every_target(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_control, "spoken", obedient)
    found = pairs(random_system, corpus, chosen(corpus, "voice.test", 1, 0), 0)
    assert len(found) == 2 * (3 + 2 + 2)
    figures = by_name(control_figures(found))
    for name in ("duration", "F0", "level"):
        assert figures[f"{name} moves in the declared direction", ""].value == 100.0
        assert figures[f"{name} off the rule", ""].reached, figures[f"{name} off the rule", ""]
    assert figures["F0 moved", "pitch=high"].value == pytest.approx(2.5, abs=0.2)
    assert figures["F0 moved", "pitch=high"].how == "the rule says +2.5"
    assert figures["duration moved", "speed=slow"].value == pytest.approx(25, abs=0.1)
    assert figures["level moved", "emotion=angry"].value == pytest.approx(20 * math.log10(1.5), abs=0.1)
    assert figures["F0 moved unasked", "speed=fast"].value == pytest.approx(0, abs=0.1)
    assert ("F0 moved", "") not in figures


def test_a_stubborn_voice_is_seen(random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_control, "spoken", lambda *_: buzz(150, 1.0, 0.05))
    figures = by_name(control_figures(pairs(random_system, corpus, chosen(corpus, "voice.test", 1, 0), 0)))
    assert figures["F0 moves in the declared direction", ""].value == 0.0
    assert figures["F0 off the rule", "pitch=low"].value == pytest.approx(2.5)
    assert math.isnan(figures["phone error above the default style", ""].value)  # no words at all can be lost


def test_words_lost_and_side_effects_are_counted() -> None:
    default = Take(Voice(1.0, 100.0, -26.0, -8.0), errors=1, num_phones=10)
    worse = Take(Voice(1.25, 100.0 * 2 ** (1 / 12), -26.0, -6.5), errors=4, num_phones=10)
    figures = by_name(control_figures([Pair("a", "speed=slow", {}, worse, default)]))
    gap = figures["phone error above the default style", ""]
    assert (gap.value, gap.reached) == (30.0, False)
    assert figures["F0 moved unasked", ""].value == pytest.approx(1.0)
    assert figures["tilt moved", "speed=slow"].value == pytest.approx(1.5)
    assert figures["duration off the rule", ""].value == pytest.approx(0.0)
    unknown = Pair("a", "warmth=high", {}, worse, default)
    assert set(unknown.rule.values()) == {0.0}


def test_intervals_are_over_texts() -> None:
    """Two texts, each in many styles that all do the same: two items, however many pairs."""
    default = Take(Voice(1.0, 100.0, -26.0, -8.0), 0, 10)
    shifts = {0: 2.0, 1: 3.0}
    takes = {text: Take(Voice(1.0, 100.0 * 2 ** (shift / 12), -26.0, -8.0), text, 10) for text, shift in shifts.items()}
    found = [Pair(str(text), "pitch=high", {}, take, default) for text, take in takes.items() for _ in range(50)]
    figures = by_name(control_figures(found))
    moved = figures["F0 moved", "pitch=high"]
    assert (moved.value, moved.num_items) == (pytest.approx(2.5), 2)
    assert (moved.low, moved.high) == (pytest.approx(2.0), pytest.approx(3.0))
    directions = figures["F0 moves in the declared direction", ""]
    assert (directions.value, directions.num_items) == (100.0, 2) and directions.low < 50
    assert figures["phone error, changed styles", ""].value == pytest.approx(5.0)


def test_silence_is_a_miss_and_counts_in_no_mean() -> None:
    default = Take(Voice(1.0, 100.0, -26.0, -8.0), 0, 10)
    silent = Take(Voice(1.0, math.nan, math.nan, math.nan), 10, 10)
    figures = by_name(control_figures([Pair("a", "pitch=high", {}, silent, default)]))
    assert figures["F0 moves in the declared direction", ""].value == 0.0
    assert math.isnan(figures["F0 off the rule", ""].value)
    assert figures["F0 off the rule", ""].reached is False


def test_the_listener_hears_the_gender_of_natural_speech(random_system: System, corpus: Path) -> None:
    listener = train_listener(random_system, corpus, ("gender", "emotion", "warmth"), 60, 0)
    assert {"gender", "voice"} <= set(listener.probes) and "warmth" not in listener.probes
    renderings = [record["messages"][0]["rendering"] for record in chosen(corpus, "voice.train", 12, 1)]
    waves = waves_of(random_system, corpus, [rendering["audio"] for rendering in renderings])
    heard = listener.hear("gender", waves, random_system)
    assert np.mean([one == item["style"]["gender"] for one, item in zip(heard, renderings, strict=True)]) > 0.9


def test_timbre_does_not_hear_the_level() -> None:
    hiss = 0.05 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    wave = buzz(120, 0.5, 0.05) + hiss
    assert timbre([wave], RATE) == pytest.approx(timbre([3 * wave], RATE), abs=0.05)
    assert np.abs(timbre([wave], RATE) - timbre([hiss], RATE)).max() > 0.5
    assert np.isfinite(timbre([np.zeros(3, np.float32)], RATE)).all()


def test_the_recording_itself_has_no_distance_and_is_heard_as_it_is(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = chosen(corpus, "voice.test", 3, 0)
    renderings = [record["messages"][0]["rendering"]["audio"] for record in records]
    for name in ("spoken", "_timed"):
        waves = iter(waves_of(random_system, corpus, renderings))
        monkeypatch.setattr(voice_quality, name, lambda *_, waves=waves: next(waves))
    waves, voices = waves_of(random_system, corpus, renderings), [audio["voice"] for audio in renderings]
    known = Voiceprints.of(timbre(waves, RATE), voices)
    monkeypatch.setattr(voice_quality, "train_listener", lambda *_: Listener({}, {}, known))
    figures = by_name(voice_quality.judge_voice(random_system, corpus, 3, 0))
    made, natural = (figures[f"speaker similarity, {kind} speech", ""].value for kind in ("made", "natural"))
    assert made == natural > figures["speaker similarity, natural speech, other voices", ""].value
    assert figures["mel-cepstral distance, time-warped", ""].value == 0.0
    assert figures["mel-cepstral distance, true durations", ""].value == 0.0


def test_true_durations_are_those_of_the_recording(random_system: System, corpus: Path) -> None:
    record = chosen(corpus, "voice.test", 1, 0)[0]
    row = voice_quality.speak_all(random_system, corpus, [record], 0)[0]
    hop = random_system.part("detokenizer").hop_size
    assert abs(len(row.timed) - len(row.natural)) <= hop
    fast = soxr.resample(row.natural, 2 * RATE, RATE)
    assert semitones(len(row.natural), len(fast)) == pytest.approx(12, abs=0.1)


def test_tables_show_rule_and_confusions() -> None:
    asked, heard = ["sad", "sad", "happy"], ["sad", "happy", "happy"]
    cells = voice_quality._confusions("emotion", "made", asked, heard)
    default = Take(Voice(1.0, 100.0, -26.0, -8.0), 0, 10)
    styled = Take(Voice(1.0, 110.0, -26.0, -8.0), 0, 10)
    effects, matrix = voice_tables([*control_figures([Pair("a", "pitch=high", {}, styled, default)]), *cells])
    assert "(+2.5)" in effects.rows[0][2] and "1.65 semitones" in effects.rows[0][2]
    assert [list(row) for row in matrix.rows] == [["happy", "100", "0", "1"], ["sad", "50", "50", "2"]]
    assert "| sad | 50 | 50 | 2 |" in matrix.markdown()
    assert voice_tables([]) == []


def test_one_part_alone_is_judged(random_system: System, corpus: Path) -> None:
    judgement = judge_all(random_system, corpus, num_items=1, seed=0, parts=["speed"])
    assert {figure.part for figure in judgement.figures} == {"speed"}
    assert all(figure.value > 0 for figure in judgement.figures)
    waited = by_name(list(judgement.figures))["first sound, time", ""]
    assert waited.unit == "ms" and "on this machine" in waited.how
    with pytest.raises(UnknownName, match="Did you mean 'control'"):
        judge_all(random_system, corpus, num_items=1, seed=0, parts=["controls"])


def test_a_voice_without_styles_is_judged_too(random_system: System, corpus: Path) -> None:
    nodes = {slot: random_system.plan.nodes[slot] for slot in ("tokenizer", "detokenizer", "backbone")}
    detokenizer = Node("detokenizer/cfm_mel", {**CFM_MEL, "style_dim": 0, "style_space": None})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mute = System.assemble({**nodes, "style": Node("style/none"), "detokenizer": detokenizer})
    judgement = judge_all(mute, corpus, num_items=20, seed=0, parts=["voice", "control", "speed"])
    assert {figure.part for figure in judgement.figures} == {"voice", "control", "speed"}
    (control,) = (figure for figure in judgement.figures if figure.part == "control")
    assert control.name == "everything" and math.isnan(control.value)
    assert control.how == "not applicable: style/none has no style but its default"
    assert "target voice among all training voices recognised, made speech" in {item.name for item in judgement.figures}


def test_readings_speak_every_style(random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_takes, "spoken", obedient)
    (reading,) = voice_takes.readings(random_system, corpus, 1, 0)
    names = [take.name for take in reading.takes]
    assert len(names) == 2 * 8 and names[0] == "female, default style" and "male, pitch=high" in names


def test_the_verb_writes_a_page_and_the_tables(
    random_system: System, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speaking = {slot: random_system.part(slot) for slot in ("tokenizer", "style", "detokenizer")}
    System(random_system.plan, speaking).save(tmp_path / "weights")
    words = ["eval", f"weights={tmp_path / 'weights'}", f"data.path={corpus}", "num_items=1", "parts=[control]"]
    assert main([*words, "--html", str(tmp_path / "voice.html")]) == 0
    shown = capsys.readouterr().out
    assert "| control | duration moves in the declared direction |" in shown
    assert "| pitch=high |" in shown and "tokenizer" not in shown.split("Weights")[0]
    page = (tmp_path / "voice.html").read_text()
    assert page.count("<audio") == 2 * (1 + 16) and "pitch=high" in page and "$" not in page.split("<main>")[1]
    assert main([*words, "--json"]) == 0
    assert {item["part"] for item in json.loads(capsys.readouterr().out)["figures"]} == {"control"}
    assert main([*words, "--html", str(tmp_path / "voice.pdf")]) == 2
    assert "must end in .html" in capsys.readouterr().err
