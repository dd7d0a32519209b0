"""What a voice in training leaves to look at: whole or not at all, whatever the sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from omnikit.report.voice_picture import Utterance
from omnikit.serving.measure import listen
from omnikit.training import listening
from omnikit.training.listening import Listening, write_utterances


def utterance(wave: np.ndarray, durations: list[int] | None) -> Utterance:
    made = listen(0.5 * wave, 16_000)
    told = None if durations is None else np.array(durations)
    return Utterance("happy: hello", listen(wave, 16_000), made, 0.008, told, [("h", 0.0, 0.1), ("e", 0.1, 0.2)])


TONE = np.sin(2 * np.pi * 150 * np.arange(8_000) / 16_000).astype(np.float32)


@pytest.mark.parametrize(
    "shown",
    [
        utterance(TONE, [30, 32]),
        utterance(TONE, None),
        utterance(np.zeros(8_000, np.float32), [62]),
        utterance(TONE[:128], [1]),
    ],
    ids=["two units", "no alignment", "silence", "one short unit"],
)
def test_everything_can_be_drawn(shown: Utterance, tmp_path: Path) -> None:
    write_utterances(tmp_path / "media" / "step_1", [shown])
    folder = tmp_path / "media" / "step_1"
    assert {file.name for file in folder.iterdir()} == {"0.png", "0_made.wav", "0_recorded.wav"}
    with Image.open(folder / "0.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 0
    wave, rate = soundfile.read(folder / "0_made.wav")
    assert rate == 16_000 and len(wave) == len(shown.made.wave)


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = tmp_path / "media"
    write_utterances(media / "step_1", [utterance(TONE, [62])])

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(listening, "draw_utterance", stopped)
    for step in ("step_1", "step_2"):
        with pytest.raises(KeyboardInterrupt):
            write_utterances(media / step, [utterance(TONE, [62])])
    assert [folder.name for folder in media.iterdir()] == ["step_1"]
    assert len(list((media / "step_1").iterdir())) == 3


def test_the_newest_steps_stay(tmp_path: Path) -> None:
    for step in (2, 10, 9, 100):
        (tmp_path / f"step_{step}").mkdir()
    Listening(None, [], tmp_path, 2, None)._forget()  # type: ignore[arg-type]
    assert {folder.name for folder in tmp_path.iterdir()} == {"step_10", "step_100"}
