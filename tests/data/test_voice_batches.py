"""Batches for detokenizers: what a share of one reads, and units on and off the clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from omnikit.data.shares import Share
from omnikit.data.units import UnitStore
from omnikit.data.voice_batches import VoiceBatches, VoiceItem

SECONDS = (0.6, 0.5, 0.4, 0.04)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four recordings of 16 kHz, the last one of a single unit, all of one phone."""
    store = UnitStore(tmp_path, "units-1")
    rows = {}
    for number, seconds in enumerate(SECONDS):
        soundfile.write(tmp_path / f"{number}.wav", np.full(round(16_000 * seconds), 0.1, np.float32), 16_000)
        rows[f"{number}.wav"] = np.full((1, round(25 * seconds)), number)
    store.add(rows)
    return tmp_path


def batches(corpus: Path, unit_rate: float | None = 25.0) -> VoiceBatches:
    items = [
        VoiceItem(f"{number}.wav", [("a", 0.0, seconds)], f"{number}.wav", [("a", 0.0, seconds)], seconds, {}, "a")
        for number, seconds in enumerate(SECONDS)
    ]
    store = UnitStore(corpus, "units-1")
    return VoiceBatches(
        corpus,
        items,
        store,
        unit_rate=unit_rate,
        sample_rate=16_000,
        hop_size=128,
        batch_s=9.0,
        num_batches=2,
        seed=0,
    )


def test_shares_are_the_rows_of_the_batch(corpus: Path) -> None:
    whole = batches(corpus)[0]
    assert whole.rows == (0, 1, 2, 3) and whole.counts
    found = batches(corpus)
    for process in range(3):
        found.share = Share(process, 3)
        own = found[0]
        assert own.counts and own.rows == tuple(range(4))[process::3]
        for row, place in enumerate(own.rows):
            length = int(own.lengths[row])
            assert length == int(whole.lengths[place])
            assert torch.equal(own.codes[row, :, :length], whole.codes[place, :, :length])
            assert own.durations is not None and whole.durations is not None
            assert torch.equal(own.durations[row, :length], whole.durations[place, :length])
    found.share = Share(4, 5)
    assert not found[0].counts and found[0].rows == (0,)


def test_units_off_the_clock_have_no_known_durations(corpus: Path) -> None:
    clocked, merged = batches(corpus)[0], batches(corpus, None)[0]
    assert merged.durations is None
    assert torch.equal(merged.codes, clocked.codes) and torch.equal(merged.audio.wave, clocked.audio.wave)
    assert clocked.durations is not None
    assert clocked.durations.sum(1).tolist() == (clocked.audio.lengths // 128).tolist()
    assert int(clocked.lengths.min()) == 1
