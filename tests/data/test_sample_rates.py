"""Recordings at one rate, read by tokenizers that hear at another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

import omnikit
from omnikit.data.speech_batches import SpeechBatches
from omnikit.training.extract import extract_units

TINY = {"num_mels": 16, "widths": [8, 8, 8, 8], "layers": [1, 1], "heads": [2, 2], "position": [4, 4], "num_phones": 4}


def recording(path: Path, rate: int, seconds: float = 0.5) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(rate * seconds)) / rate).astype(np.float32)
    soundfile.write(path, wave, rate)
    return wave


def test_speech_batches_have_the_rate_that_was_asked_for(tmp_path: Path) -> None:
    recording(tmp_path / "low.wav", 8_000)
    high = recording(tmp_path / "high.wav", 24_000)
    items = [("low.wav", 0.5, [0]), ("high.wav", 0.5, [0])]
    batch = SpeechBatches(tmp_path, items, batch_s=2, num_batches=1, seed=0, sample_rate=24_000)[0]
    assert batch.audio.sample_rate == 24_000 and batch.audio.lengths.tolist() == [12_000, 12_000]
    for row in batch.audio.wave.numpy():
        assert np.abs(row[1_000:-1_000] - high[1_000:-1_000]).max() < 0.01


def test_units_are_extracted_at_the_rate_of_the_tokenizer(tmp_path: Path) -> None:
    for rate in (8_000, 16_000):
        recording(tmp_path / f"{rate}.wav", rate, 1.0)
    tokenizer = omnikit.create("tokenizer/spiral_fsq", **TINY, reduced=False, vocab_id="rates").eval()
    store = extract_units(tokenizer, tmp_path, {"8000.wav": 1.0, "16000.wav": 1.0})
    assert store["8000.wav"].shape == store["16000.wav"].shape == (1, 25)
