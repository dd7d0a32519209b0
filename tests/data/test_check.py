"""`check_corpus` finds every kind of defect and names file, line and field; `omnikit data` speaks for it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from omnikit.cli import data as verb
from omnikit.data.check import check_corpus
from omnikit.data.corpus import CorpusSummary
from omnikit.data.records import read_records
from omnikit.errors import DataError

Change = Callable[[dict[str, Any], Path], Any]


def test_a_fresh_corpus_is_sound(corpus: CorpusSummary) -> None:
    steps: list[tuple[int, int]] = []
    assert check_corpus(corpus.folder, lambda *step: steps.append(step)) == []
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1] > 0


def audio_of(record: dict[str, Any]) -> dict[str, Any]:
    return record["messages"][0]["audio"]


def replace_audio(wave: np.ndarray, rate: int = 16_000, **options: str) -> Change:
    def change(record: dict[str, Any], folder: Path) -> None:
        path = folder / audio_of(record)["path"]
        path.unlink()
        audio_of(record)["path"] = audio_of(record)["path"].replace(".flac", ".wav")
        audio_of(record)["duration_s"] = wave.size / rate
        audio_of(record)["phones"] = []
        soundfile.write(path.with_suffix(".wav"), wave, rate, **options)

    return change


def tone(seconds: float, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(np.arange(int(16_000 * seconds)) * 0.2)).astype(np.float32)


def set_audio(**fields: Any) -> Change:
    return lambda record, _: audio_of(record).update(fields)


AUDIO = "messages[0].audio"
DEFECTS: dict[str, tuple[Change, str, str]] = {
    "missing": (lambda r, f: (f / audio_of(r)["path"]).unlink(), f"{AUDIO}.path", "does not exist"),
    "empty": (lambda r, f: (f / audio_of(r)["path"]).write_bytes(b""), f"{AUDIO}.path", "0 bytes"),
    "broken": (lambda r, f: (f / audio_of(r)["path"]).write_bytes(b"fLaC nothing"), f"{AUDIO}.path", "cannot be read"),
    "nan": (replace_audio(tone(1.0) * np.nan, subtype="FLOAT"), f"{AUDIO}.path", "NaN"),
    "silent": (replace_audio(np.zeros(16_000, np.float32)), f"{AUDIO}.path", "silence"),
    "clipped": (replace_audio(np.clip(tone(1.0, 9.0), -1, 1)), f"{AUDIO}.path", "clipped"),
    "too long": (replace_audio(tone(61.0)), f"{AUDIO}.path", "61.0 s"),
    "wrong rate": (replace_audio(tone(1.0), rate=8000), f"{AUDIO}.sample_rate", "8000 Hz"),
    "duration": (set_audio(duration_s=1.0), f"{AUDIO}.duration_s", "1.0 s declared"),
    "unknown phone": (set_audio(phones=[["ax", 0, 0.1], ["xx", 0.1, 0.2]]), f"{AUDIO}.phones[1][0]", "'xx'"),
    "phones overlap": (set_audio(phones=[["ax", 0, 0.3], ["t", 0.1, 0.2]]), f"{AUDIO}.phones[1]", "the phone before"),
    "phones too late": (set_audio(phones=[["ax", 0, 99]]), f"{AUDIO}.phones", "last phone ends at 99"),
    "no rate": (lambda r, f: audio_of(r).pop("sample_rate"), AUDIO, "'sample_rate' is a required property"),
    "negative": (set_audio(duration_s=-1), f"{AUDIO}.duration_s", "-1"),
    "held-out voice": (set_audio(voice="Annie"), f"{AUDIO}.voice", "held-out voice 'Annie'"),
    "unknown style": (
        lambda r, f: r["messages"][0]["style"].update(emotion="hapy"),
        "messages[0].style.emotion",
        "did you mean 'happy'",
    ),
    "held-out style": (
        lambda r, f: r["messages"][0]["style"].update(gender="male", emotion="sad", speed="fast", pitch="normal"),
        "messages[0].style",
        "held-out composition male sad fast normal",
    ),
    "unknown field": (lambda r, f: r.update(mood="good"), "", "'mood' was unexpected"),
    "no messages": (lambda r, f: r.update(messages=[]), "messages", "[]"),
    "no words": (lambda r, f: r["messages"][0].update(text="..."), "messages[0].text", "no words"),
    "wrong file": (lambda r, f: r.update(split="valid"), "split", "speech.valid in the file speech.train.jsonl"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_of_a_speech_record_is_found(name: str, damaged: Callable[..., Path]) -> None:
    change, field, words = DEFECTS[name]
    folder = damaged("speech.train.jsonl", change, line=3)
    found = [problem for problem in check_corpus(folder) if problem.line == 3]
    assert [problem.field for problem in found] == [field]
    assert words in found[0].what
    assert Path(found[0].file).name == "speech.train.jsonl"
    assert {problem.line for problem in check_corpus(folder)} == {3}


def test_defects_of_pictures_renderings_and_scenes_are_found(damaged: Callable[..., Path]) -> None:
    def change(record: dict[str, Any], folder: Path) -> None:
        (folder / record["messages"][0]["image"]["path"]).write_bytes(b"\x89PNG")
        record["scene"]["objects"][0].update(color="red", shape="star")

    found = check_corpus(damaged("caption.train.jsonl", change))
    assert [(problem.line, problem.field) for problem in found] == [
        (1, "messages[0].image.path"),
        (1, "scene.objects[0]"),
    ]


def test_a_defect_of_a_rendering_is_found(damaged: Callable[..., Path]) -> None:
    def change(record: dict[str, Any], folder: Path) -> None:
        (folder / record["messages"][0]["rendering"]["audio"]["path"]).unlink()

    (problem,) = check_corpus(damaged("voice.train.jsonl", change))
    assert problem.field == "messages[0].rendering.audio.path"


def test_texts_in_two_splits_and_ids_used_twice_are_found(tmp_path: Path) -> None:
    def line(identity: str, split: str, text: str) -> str:
        message = {"role": "user", "text": text}
        record = {"id": identity, "task": "speech", "split": split, "origin": "test", "messages": [message]}
        return json.dumps(record) + "\n"

    (tmp_path / "a.jsonl").write_text(line("1", "train", "the cat sat.") + line("2", "test", "a dog."))
    (tmp_path / "b.jsonl").write_text(line("1", "train", "a bird.") + line("3", "test_voice", "The cat, sat?"))
    found = check_corpus(tmp_path)
    assert [(Path(problem.file).name, problem.line, problem.field) for problem in found] == [
        ("b.jsonl", 1, "id"),
        ("b.jsonl", 2, "messages[0].text"),
    ]
    assert "a.jsonl:1" in found[1].what
    assert check_corpus(tmp_path / "a.jsonl") == []


def test_broken_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": \n\n[1]\n{"id": NaN}\n\xff\xfe\n')
    assert [problem.line for problem in check_corpus(path)] == [1, 3, 4, 5]
    with pytest.raises(DataError, match=r"a\.jsonl:1: no JSON"):
        list(read_records(path))
    path.write_text("\n")
    assert [problem.what for problem in check_corpus(path)] == ["the file holds no records"]
    with pytest.raises(DataError, match="nothing to check"):
        check_corpus(tmp_path / "absent")


def test_reading_names_file_line_and_field(damaged: Callable[..., Path]) -> None:
    folder = damaged("speech.train.jsonl", set_audio(duration_s="long"), line=2)
    with pytest.raises(DataError, match=r"speech\.train\.jsonl:2: messages\[0\]\.audio\.duration_s: 'long'"):
        list(read_records(folder / "speech.train.jsonl"))
    assert len(list(read_records(folder / "speech.train.jsonl", validate=False))) > 2


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args(words))


def test_the_command_line_makes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "c")
    assert run("make", "--out", out, "--hours", "0.005", "--seed", "3", "--processes", "1") == 0
    captured = capsys.readouterr()
    assert "speech.train.jsonl" in captured.out
    assert captured.err.isascii() and "100 %" in captured.err
    assert run("check", out) == 0
    assert "0 problems" in capsys.readouterr().out
    victim = next((tmp_path / "c" / "audio" / "speech.train").iterdir())
    victim.write_bytes(b"")
    assert run("check", out, "--json") == 2
    (problem,) = json.loads(capsys.readouterr().out)
    assert problem["line"] >= 1 and problem["field"] == "messages[0].audio.path" and "0 bytes" in problem["what"]
