"""A voice that is shown a style hears another text in that style, and is judged like one that is told."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from omnikit.cli.config import compose_config
from omnikit.cli.eval import trained_system
from omnikit.data import prosody
from omnikit.data.records import read_records
from omnikit.evaluation import voice_control, voice_quality, voice_speed
from omnikit.evaluation.detokenizer import round_trips
from omnikit.evaluation.material import chosen, spoken, units_of, waves_of
from omnikit.evaluation.references import FILES, Shelf, asked_labels, references_of, shows_style
from omnikit.system import System
from omnikit.types import Audio, Style, Units


def hears(views: set[str], factors: dict[str, Any]) -> System:
    module = SimpleNamespace(views=frozenset(views), factors=factors)
    return cast(System, SimpleNamespace(part=lambda slot: module))


def variant(record: Any, number: int, text: str | None = None, style: dict[str, str] | None = None) -> Any:
    """A voice record with a text and a rendering of its own, in the style of `record` or another one."""
    made = copy.deepcopy(record)
    made["id"] = f"voice.{number}"
    message = made["messages"][0]
    message["text"] = text or f"text {number}"
    message["rendering"]["audio"]["path"] = f"{number}.flac"
    message["rendering"]["style"] = style or message["rendering"]["style"]
    return made


def test_a_reference_says_another_text_in_the_style_that_is_asked_for(corpus: Path, tmp_path: Path) -> None:
    first, *_ = read_records(corpus / "voice.train.jsonl")
    lone = {"emotion": "sad", "speed": "slow", "pitch": "low", "gender": "male"}
    rows = {
        "voice.train": [variant(first, 0), variant(first, 1), variant(first, 2), variant(first, 3, style=lone)],
        "voice.test": [variant(first, 4), variant(first, 5, text="one")],
    }
    write_files(tmp_path, rows)
    shown = hears({"audio"}, {})
    records = [variant(first, 1), variant(first, 3, style=lone)]
    found = references_of(shown, tmp_path, records, seed=0)
    assert found == references_of(shown, tmp_path, records, seed=0)
    assert found[0] in (tmp_path / "0.flac", tmp_path / "2.flac"), "another recording of the training files"
    assert found[1] == tmp_path / "3.flac", "no other recording has its style"


@pytest.mark.parametrize("views, factors", [(set(), {}), ({"audio"}, {"emotion": ("sad",)})])
def test_what_knows_labels_or_hears_nothing_is_shown_nothing(
    views: set[str], factors: dict[str, Any], corpus: Path
) -> None:
    records = list(read_records(corpus / "voice.test.jsonl"))[:2]
    assert references_of(hears(views, factors), corpus, records, 0) == [None, None]


def write_files(folder: Path, rows: Mapping[str, list[Any]]) -> None:
    for name in FILES:
        lines = [json.dumps(record) + "\n" for record in rows.get(name, [])]
        (folder / f"{name}.jsonl").write_text("".join(lines))


def styled(record: Any, number: int, **style: str) -> Any:
    """A variant in the neutral style of a woman but for `style`."""
    return variant(record, number, style={"gender": "female", **prosody.NEUTRAL, **style})


def test_a_shelf_knows_the_styles_of_its_recordings_and_asked_labels_who_speaks(corpus: Path, tmp_path: Path) -> None:
    record = next(read_records(corpus / "voice.test.jsonl"))
    rows = [styled(record, 0, emotion="happy"), styled(record, 1, speed="fast"), styled(record, 2, speed="slow")]
    write_files(tmp_path, {"voice.train": rows, "voice.test_style": [styled(record, 3, gender="male")]})
    shelf = Shelf(tmp_path)
    assert shelf.factors == {
        "gender": ("female", "male"),
        "emotion": ("neutral", "happy"),
        "speed": ("normal", "fast", "slow"),
        "pitch": ("normal",),
    }
    (asked,) = (own["messages"][0]["rendering"]["style"] for own in rows[2:])
    assert shelf.another(asked, record, 0) == tmp_path / "2.flac" and shelf.another(asked, rows[2], 0) is None
    rendering = record["messages"][0]["rendering"]
    assert asked_labels(record) == {**rendering["style"], "speaker": rendering["audio"]["voice"]}


@pytest.fixture(scope="module")
def shown(corpus: Path) -> System:
    """The voice that ships, with a style module that is made from its reference encoder."""
    return trained_system(compose_config("eval", ["experiment=emova_tiny", "style=reference", f"data.path={corpus}"]))


def test_a_reference_module_is_made_from_the_detokenizer_and_speaks_in_the_styles_it_is_shown(
    shown: System, corpus: Path
) -> None:
    assert shows_style(shown)
    record = next(read_records(corpus / "voice.test.jsonl"))
    trip = round_trips(shown, corpus, [record], 0)[0]
    assert trip.has_pitch and trip.errors <= trip.num_phones // 2


def test_quality_and_speed_are_those_of_the_style_that_is_shown(
    shown: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = next(read_records(corpus / "voice.test.jsonl"))
    (reference,) = references_of(shown, corpus, [record], 0)
    (row,) = voice_quality.speak_all(shown, corpus, [record], 0)
    (units,) = units_of(shown, waves_of(shown, corpus, [record["messages"][0]["audio"]]))
    assert np.array_equal(row.made, spoken(shown, units, {}, 0, reference))
    usual = voice_quality._timed(shown, units, record["messages"][0], shown.style_of({}), 0)
    assert len(usual) == len(row.timed) and not np.allclose(usual, row.timed, atol=1e-3)
    (timed,) = chosen(corpus, voice_speed.FILE, 1, 0)
    vectors: list[torch.Tensor] = []
    decode = voice_speed._whole

    def whole(detokenizer: Any, units: Units, style: Style, seed: int) -> Audio:
        vectors.append(style.vector)
        return decode(detokenizer, units, style, seed)

    monkeypatch.setattr(voice_speed, "_whole", whole)
    figures = voice_speed.judge_speed(shown, corpus, 1, 0)
    assert torch.equal(vectors[0], shown.style_of(reference=references_of(shown, corpus, [timed], 0)[0]).vector)
    assert all(figure.how.endswith("styles are shown by other recordings") for figure in figures)


def test_control_shows_the_styles_of_the_corpus(
    shown: System, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = next(read_records(corpus / "voice.test.jsonl"))
    rows = [
        styled(record, 0),
        styled(record, 1, emotion="sad"),
        styled(record, 2, speed="slow"),
        styled(record, 3, emotion="sad", speed="slow"),  # two changes
        styled(record, 4, gender="male", pitch="high"),  # a man whose default style nobody recorded
    ]
    write_files(tmp_path, {"voice.train": rows, "voice.test": [record]})
    (tmp_path / "audio").symlink_to(corpus / "audio")
    asked: list[tuple[str, Mapping[str, str]]] = []

    def speak(system: System, units: Units, labels: Mapping[str, str], seed: int, reference: Path) -> np.ndarray:
        asked.append((reference.name, labels))
        return np.sin(np.arange(8000) / 20).astype(np.float32)

    monkeypatch.setattr(voice_control, "spoken", speak)
    figures = voice_control.judge_control(shown, tmp_path, 1, 0)
    styles = [row["messages"][0]["rendering"]["style"] for row in rows]
    assert asked == [(f"{number}.flac", styles[number]) for number in range(3)]
    assert {figure.group for figure in figures if figure.group} == {"emotion=sad", "speed=slow"}
    assert all(figure.how.endswith("shown by other recordings") for figure in figures if not figure.group)


def test_control_says_where_no_recording_shows_a_style(
    shown: System, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = next(read_records(corpus / "voice.test.jsonl"))
    write_files(tmp_path, {"voice.test": [record]})
    (tmp_path / "audio").symlink_to(corpus / "audio")
    monkeypatch.setattr(voice_control, "spoken", lambda *_: np.ones(8000, np.float32))
    (figure,) = voice_control.judge_control(shown, tmp_path, 1, 0)
    assert figure.name == "everything" and figure.how.startswith("not applicable: style/reference")
