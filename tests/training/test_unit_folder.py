"""Recordings → a folder of units: the same bytes however it was made, and nothing left out in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import omnikit
from omnikit.artefacts import save_component
from omnikit.cli import main
from omnikit.data.media import AUDIO_ENDINGS, load_audio, recordings_in
from omnikit.data.units import UnitStore
from omnikit.errors import DataError, OmnikitError
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.training import unit_folder
from omnikit.training.unit_folder import extract_folder

SMALL = {
    "num_mels": 16,
    "widths": [8, 12, 16, 12],
    "layers": [1, 1],
    "heads": [2, 3],
    "ffn_ratio": 2,
    "position": [8, 4],
    "levels": [5, 4],
    "num_phones": 6,
    "decoder_dim": 8,
}


@pytest.fixture(scope="module")
def tokenizer() -> SpeechTokenizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return omnikit.create("tokenizer/spiral_fsq", **SMALL, reduced=True, vocab_id="small").eval()


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Nine recordings of 0.3 to 1.1 s in two folders, at two rates, two of them in stereo."""
    rng = np.random.default_rng(0)
    for number in range(9):
        rate = (16_000, 22_050)[number % 2]
        wave = 0.2 * rng.standard_normal((round((0.3 + 0.1 * number) * rate), 1 + (number % 4 == 0)))
        path = tmp_path / "sounds" / ("a", "b/c")[number % 2] / f"{number}{('.wav', '.flac')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, rate)
    return tmp_path / "sounds"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_folder, "BATCH_S", 2.0)
    monkeypatch.setattr(unit_folder, "PIECE_S", 2.0)


def make(tokenizer: SpeechTokenizer, sounds: Path, out: Path) -> unit_folder.UnitFolder:
    return extract_folder(tokenizer, sounds, recordings_in(sounds), out, max_s=60.0)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_recording_has_the_units_it_has_alone(tokenizer: SpeechTokenizer, sounds: Path, tmp_path: Path) -> None:
    made = make(tokenizer, sounds, tmp_path / "units")
    store = UnitStore.at(tmp_path / "units")
    assert list(store) == recordings_in(sounds)
    for path in store:
        alone = tokenizer.encode(load_audio(sounds / path, 16_000))
        assert store[path].tolist() == alone.codes[0].tolist()
        assert alone.durations is not None
        assert store.durations[path].tolist() == alone.durations[0].tolist()
    assert (made.num_recordings, made.failures) == (9, {})
    assert made.num_units == sum(codes.shape[1] for codes in store.values())
    assert made.seconds == pytest.approx(sum(0.3 + 0.1 * number for number in range(9)), abs=1e-3)


def test_interrupted_anywhere_it_ends_with_the_same_bytes(
    tokenizer: SpeechTokenizer, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tokenizer, sounds, tmp_path / "whole")
    encode, calls = unit_folder.encode_waves, 0

    def dying(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise KeyboardInterrupt
        return encode(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(unit_folder, "encode_waves", dying)
    interruptions = 0
    for _ in range(20):
        try:
            make(tokenizer, sounds, tmp_path / "broken")
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 2
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    before = calls
    assert make(tokenizer, sounds, tmp_path / "broken").num_recordings == 9
    assert calls == before  # a finished folder is not made again


def test_what_cannot_be_used_is_listed_with_its_reason(
    tokenizer: SpeechTokenizer, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sounds / "broken.wav").write_bytes(b"RIFF nothing")
    (sounds / "empty.flac").write_bytes(b"")
    soundfile.write(sounds / "silent.wav", np.zeros(8000), 16_000)
    soundfile.write(sounds / "long.wav", 0.1 * np.ones(32_000), 16_000)
    save_component(tokenizer, tmp_path / "tokenizer")
    words = ["data", "units", "--tokenizer", str(tmp_path / "tokenizer"), "--audio", str(sounds), "--out"]
    assert main([*words, str(tmp_path / "units"), "--max-seconds", "1.5"]) == 2
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in (tmp_path / "units" / "failures.jsonl").read_text().splitlines()]
    reasons = {line["path"]: line["reason"] for line in lines}
    assert list(reasons) == ["broken.wav", "empty.flac", "long.wav", "silent.wav"]
    assert "0 bytes" in reasons["empty.flac"]
    assert "at most 1.5 s" in reasons["long.wav"]
    assert "silence" in reasons["silent.wav"]
    assert "4 left out" in shown.out
    assert "left out broken.wav" in shown.err
    assert len(UnitStore.at(tmp_path / "units")) == 9
    card = json.loads((tmp_path / "units" / "units.json").read_text())
    assert (card["num_recordings"], card["num_failures"], card["plan"]["vocab_id"]) == (9, 4, "small")


def test_a_recording_that_the_tokenizer_refuses_does_not_take_its_neighbours_along(
    tokenizer: SpeechTokenizer, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = unit_folder.encode_waves

    def picky(one: SpeechTokenizer, waves: list[np.ndarray], rate: int) -> object:
        if any(len(wave) == 4800 for wave in waves):  # the recording of 0.3 s
            raise OmnikitError("too short for me")
        return encode(one, waves, rate)

    monkeypatch.setattr(unit_folder, "encode_waves", picky)
    made = make(tokenizer, sounds, tmp_path / "units")
    assert made.failures == {"a/0.wav": "too short for me"}
    assert made.num_recordings == 8


def test_another_run_in_the_folder_is_refused(tokenizer: SpeechTokenizer, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "units"
    make(tokenizer, sounds, out)
    soundfile.write(sounds / "new.wav", 0.1 * np.ones(8000), 16_000)
    with pytest.raises(DataError, match="made with other recordings"):
        make(tokenizer, sounds, out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        make(tokenizer, sounds, tmp_path / "other")


def test_nothing_to_do_is_said(tokenizer: SpeechTokenizer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.flac"):
        recordings_in(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        recordings_in(tmp_path / "none")
    (tmp_path / f"x{AUDIO_ENDINGS[0]}").write_bytes(b"")
    with pytest.raises(DataError, match="None of the 1 recordings"):
        extract_folder(tokenizer, tmp_path, ["x.wav"], tmp_path / "out", max_s=60.0)


def test_a_corpus_names_its_recordings(tokenizer: SpeechTokenizer, sounds: Path, tmp_path: Path) -> None:
    paths = recordings_in(sounds)
    record = {"messages": [{"audio": {"path": paths[0]}, "rendering": {"audio": {"path": paths[1]}}}, {"text": "x"}]}
    (sounds / "speech.train.jsonl").write_text(json.dumps(record) + "\n")
    save_component(tokenizer, tmp_path / "tokenizer")
    words = ["data", "units", "--tokenizer", str(tmp_path / "tokenizer"), "--corpus", str(sounds)]
    assert main([*words, "--out", str(tmp_path / "units")]) == 0
    assert sorted(UnitStore.at(tmp_path / "units")) == sorted(paths[:2])


def test_a_part_that_is_no_tokenizer_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "units", "--audio", str(tmp_path), "--out", str(tmp_path / "u"), "--tokenizer"]
    assert main([*words, "tiny#style"]) == 2
    assert "no tokenizer" in capsys.readouterr().err
    assert main([*words, "tiny", "--device", "nowhere"]) == 2
    assert "--device nowhere" in capsys.readouterr().err
