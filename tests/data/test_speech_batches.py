"""Batches of utterances: shares of processes, crops, labels from phones or from text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from omnikit.data.shares import Share
from omnikit.data.speech_batches import Perturbation, SpeechBatch, SpeechBatches, audio_items, phone_items, within
from omnikit.errors import DataError

LENGTHS_S = (0.5, 0.6, 0.7, 0.8, 3.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, seconds in enumerate(LENGTHS_S):
        wave = np.random.default_rng(number).uniform(-0.5, 0.5, int(16_000 * seconds)).astype(np.float32)
        soundfile.write(tmp_path / f"{number}.wav", wave, 16_000, subtype="FLOAT")
    return tmp_path


def batches_of(folder: Path, share: Share | None = None, **settings: object) -> SpeechBatches:
    items = [(f"{number}.wav", seconds, [number] * (number + 1)) for number, seconds in enumerate(LENGTHS_S)]
    made = SpeechBatches(folder, items, batch_s=2.5, num_batches=4, seed=3, **settings)  # type: ignore[arg-type]
    made.share = share or Share()
    return made


def rows_of(batch: SpeechBatch) -> dict[int, tuple[list[float], list[int]]]:
    """Samples and phones of every row that counts, by its place in the whole batch."""
    if not batch.counts:
        return {}
    return {
        row: (
            batch.audio.wave[index, : batch.audio.lengths[index]].tolist(),
            batch.phones[index, : batch.phone_lengths[index]].tolist(),
        )
        for index, row in enumerate(batch.rows)
    }


@pytest.mark.parametrize("processes", [2, 3])
def test_shares_are_the_whole_batch_dealt_out(folder: Path, processes: int) -> None:
    noisy = Perturbation(speed=0.1, noise=0.05)
    whole = batches_of(folder, perturbation=noisy)
    shares = [batches_of(folder, Share(number, processes), perturbation=noisy) for number in range(processes)]
    empty = 0
    for step in range(4):
        dealt: dict[int, tuple[list[float], list[int]]] = {}
        for share in shares:
            batch = share[step]
            assert batch.step == step and len(batch.rows) > 0
            empty += not batch.counts
            assert not dealt.keys() & rows_of(batch).keys()
            dealt |= rows_of(batch)
        assert dealt == rows_of(whole[step])
    assert empty, "the lone long recording leaves a process without a row"


def test_long_recordings_are_cut_at_a_place_of_the_step(folder: Path) -> None:
    batches = batches_of(folder, crop_s=1.0)
    recording, _ = soundfile.read(folder / "4.wav", dtype="float32")
    places = set()
    for step in range(4):
        for samples, phones in rows_of(batches[step]).values():
            assert len(samples) <= 16_000
            if phones[0] == 4:
                starts = np.flatnonzero(recording == np.float32(samples[0]))
                (place,) = [at for at in starts if recording[at : at + 16_000].tolist() == samples]
                places.add(int(place))
                assert rows_of(batches[step]) == rows_of(batches_of(folder, crop_s=1.0)[step])
    assert len(places) > 1


def test_a_batch_that_starts_later_is_the_same_batch(folder: Path) -> None:
    resumed = batches_of(folder, start=2, perturbation=Perturbation(noise=0.1))
    assert rows_of(resumed[1]) == rows_of(batches_of(folder, perturbation=Perturbation(noise=0.1))[3])
    assert resumed[1].step == 3


def test_items_come_from_labels_or_text() -> None:
    labelled = {"path": "a.wav", "duration_s": 1.0, "phones": [["b", 0.0, 0.5], ["a", 0.5, 1.0]]}
    bare = {"path": "b.wav", "duration_s": 9.0}
    records = [
        {"messages": [{"role": "user", "audio": labelled}, {"role": "user", "text": "aab", "audio": bare}]},
        {"messages": [{"role": "user", "text": "no sound"}]},
    ]
    index = {"a": 0, "b": 1}
    assert phone_items(records, index) == [("a.wav", 1.0, [1, 0])]
    both = phone_items(records, index, list)
    assert both == [("a.wav", 1.0, [1, 0]), ("b.wav", 9.0, [0, 0, 1])]
    assert audio_items(records) == [("a.wav", 1.0, []), ("b.wav", 9.0, [])]
    assert within(both, min_s=2.0) == both[1:] and within(both, max_s=2.0) == both[:1]
    with pytest.raises(DataError, match=r"has: 1\.0 to 9\.0 s"):
        within(both, min_s=10.0)
    with pytest.raises(DataError, match=r"a\.wav has phones .*\['b'\]"):
        phone_items(records, {"a": 0})


def test_recordings_without_labels_make_a_batch(folder: Path) -> None:
    batches = SpeechBatches(folder, [("0.wav", 0.5, []), ("1.wav", 0.6, [])], batch_s=2.0, num_batches=1, seed=0)
    assert batches[0].phones.shape == (2, 0) and torch.equal(batches[0].phone_lengths, torch.zeros(2).long())
