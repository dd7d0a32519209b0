"""`omnikit reply` and `omnikit say` with the system in the box: what they write, and what they refuse to write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from omnikit.cli import main
from omnikit.data.corpus import make_corpus
from omnikit.system import System

RATE = 16_000


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A picture and a spoken question about it, freshly made."""
    corpus = tmp_path_factory.mktemp("corpus") / "one"
    make_corpus(corpus, hours=0.005, seed=1, processes=1)
    user = json.loads((corpus / "dialogue.test.jsonl").read_text().splitlines()[0])["messages"][0]
    return corpus / user["image"]["path"], corpus / user["audio"]["path"]


def test_a_spoken_question_is_answered_aloud(
    asked: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, audio = asked
    outs = [tmp_path / "a.wav", tmp_path / "b.wav"]
    told = []
    for out in outs:
        words = ["reply", "--image", str(image), "--audio", str(audio), "--out", str(out), "--style", "gender=male"]
        assert main([*words, "--seed", "4"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["user_text"] and told[0]["text"]
    assert told[0]["style"]["gender"] == "male"
    assert told[0]["style_decided_by"]["gender"] == "user"
    assert told[0]["style_decided_by"]["emotion"] == "model"
    assert set(told[0]["timings_s"]) == {"see", "hear", "think", "speak"}
    assert outs[0].read_bytes() == outs[1].read_bytes()
    wave, rate = soundfile.read(outs[0])
    assert rate == RATE and len(wave) > RATE // 4 and np.abs(wave).max() > 0.01


def test_several_pictures_are_shown_in_their_order(
    asked: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.open(asked[0]).rotate(180).save(tmp_path / "turned.png")
    shown: list[list[str]] = []
    look = System.look

    def noted(self: System, images: list[str]) -> list[torch.Tensor]:
        shown.append(images)
        return look(self, images)

    monkeypatch.setattr(System, "look", noted)
    pictures = [str(asked[0]), str(tmp_path / "turned.png")]
    out = tmp_path / "x.wav"
    code = main(["reply", "--image", *pictures, "--audio", str(asked[1]), "--out", str(out)])
    told = json.loads(capsys.readouterr().out)
    assert shown == [pictures] and told["valid"] and told["text"]
    assert (code == 0) == out.exists() == bool(told["num_units"])  # the shipped model was taught one picture a turn


def test_a_text_is_spoken_in_the_style_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.wav"
    assert main(["say", "the red star is big.", "--style", "emotion=sad,pitch=low", "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["style"]["emotion"] == "sad" and told["style"]["pitch"] == "low"
    assert told["style_decided_by"] == {"gender": "default", "emotion": "user", "speed": "default", "pitch": "user"}
    assert soundfile.info(out).duration > 0.5


def _wave(samples: np.ndarray) -> Callable[[Path], None]:
    return lambda path: soundfile.write(path, samples, RATE, subtype="FLOAT", format="WAV")


TONE = (0.1 * np.sin(np.arange(RATE) / 9)).astype(np.float32)
BAD_AUDIO: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "exist"),
    "empty file": (lambda path: path.write_bytes(b""), "empty"),
    "no audio at all": (lambda path: path.write_bytes(b"not a sound" * 50), "cannot be read"),
    "zero length": (_wave(np.zeros(0, dtype=np.float32)), "no samples"),
    "silence": (_wave(np.zeros(RATE, dtype=np.float32)), "silence"),
    "NaN": (_wave(np.where(np.arange(RATE) == 7, np.nan, TONE).astype(np.float32)), "NaN"),
    "an hour": (_wave(np.zeros(3600 * RATE, dtype=np.float32)), "60"),
}
BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "exist"),
    "broken": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 60), "broken"),
    "one pixel": (lambda path: Image.new("RGB", (1, 1)).save(path, format="PNG"), "1"),
}


def refused(words: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a refused command, after checking how it was refused."""
    assert main([*words, "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert 1 <= len(told.err.strip().splitlines()) <= 8
    assert not out.exists() and not list(out.parent.glob("*.part"))
    return told.err


@pytest.mark.parametrize("kind", BAD_AUDIO)
def test_bad_audio(kind: str, asked: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, expected = BAD_AUDIO[kind]
    make(tmp_path / "q.wav")
    words = ["reply", "--image", str(asked[0]), "--audio", str(tmp_path / "q.wav")]
    assert expected in refused(words, tmp_path / "out.wav", capsys)


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_images(kind: str, asked: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, expected = BAD_IMAGES[kind]
    make(tmp_path / "p.png")
    words = ["reply", "--image", str(tmp_path / "p.png"), "--audio", str(asked[1])]
    assert expected in refused(words, tmp_path / "out.wav", capsys)


def test_a_cmyk_picture_is_a_picture(asked: tuple[Path, Path], tmp_path: Path) -> None:
    Image.open(asked[0]).convert("CMYK").save(tmp_path / "p.jpg")
    words = ["reply", "--image", str(tmp_path / "p.jpg"), "--audio", str(asked[1]), "--out", str(tmp_path / "out.wav")]
    assert main(words) == 0


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (["--style", "emotion=hapy"], "Did you mean 'happy'"),
        (["--style", "emotions=happy"], "Did you mean 'emotion'"),
        (["--system", "tinny"], "Did you mean 'tiny'"),
    ],
)
def test_unknown_words(extra: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in refused(["say", "the red star is big.", *extra], tmp_path / "out.wav", capsys)
