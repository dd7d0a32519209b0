"""Judging parts: planted speech gives the planted figures; every judge runs on a random system, the same twice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from omnikit.errors import DataError, OmnikitError
from omnikit.evaluation import detokenizer as detokenizer_module
from omnikit.evaluation import tokenizer as tokenizer_module
from omnikit.evaluation.detokenizer import RoundTrip, round_trips
from omnikit.evaluation.figures import Figure, Names
from omnikit.evaluation.judge import judge_all
from omnikit.evaluation.material import chosen, in_batches, phones_of, read_phones, units_of, waves_of
from omnikit.evaluation.tokenizer import judge_tokenizer
from omnikit.system import System


def natural_waves(system: System, corpus: Path, records: list) -> list[np.ndarray]:
    return waves_of(system, corpus, [record["messages"][0]["rendering"]["audio"] for record in records])


def test_the_natural_recording_itself_has_no_error(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = chosen(corpus, "voice.test", 4, 0)
    waves: Iterator[np.ndarray] = iter(natural_waves(random_system, corpus, records))
    monkeypatch.setattr(detokenizer_module, "spoken", lambda *_: next(waves))
    for trip in round_trips(random_system, corpus, records, 0):
        assert trip.errors == trip.natural_errors
        assert trip.duration_ratio == 1.0
        assert trip.pitch_error == 0.0


def test_speech_played_faster_is_shorter_and_higher_by_as_much(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factor = 2 ** (4 / 12)
    records = chosen(corpus, "voice.test", 4, 0)
    fast = iter([soxr.resample(w, 16_000 * factor, 16_000) for w in natural_waves(random_system, corpus, records)])
    monkeypatch.setattr(detokenizer_module, "spoken", lambda *_: next(fast))
    for trip in round_trips(random_system, corpus, records, 0):
        assert trip.duration_ratio == pytest.approx(1 / factor, rel=1e-3)
        assert trip.pitch_error == pytest.approx(4.0, abs=0.5)


def test_a_deaf_ear_makes_no_voice_good(random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gap(errors: int, natural_errors: int) -> Figure:
        trip = RoundTrip({"emotion": "sad"}, 100, errors, natural_errors, 1.0, 0.0, True)
        monkeypatch.setattr(detokenizer_module, "round_trips", lambda *_: [trip])
        figures = detokenizer_module.judge_detokenizer(random_system, corpus, 1, 0)
        return next(figure for figure in figures if figure.name == "phone error above natural, seen styles")

    assert (gap(14, 5).value, gap(14, 5).reached) == (9.0, True)
    assert (gap(20, 5).value, gap(20, 5).reached) == (15.0, False)
    assert math.isnan(gap(99, 98).value)
    assert not gap(99, 98).reached


def test_silence_has_no_pitch_and_counts_in_no_mean(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detokenizer_module, "spoken", lambda *_: np.zeros(16_000, np.float32))
    figures = detokenizer_module.judge_detokenizer(random_system, corpus, 2, 0)
    by_name = {figure.name: figure for figure in figures if not figure.group}
    assert math.isnan(by_name["F0 error, seen styles"].value)
    assert by_name["F0 error, seen styles"].reached is False
    assert by_name["speech with a measurable F0, seen styles"].value == 0.0


def test_a_tokenizer_that_reads_the_labels_has_no_phone_error(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: System, waves: list[np.ndarray]) -> list[list[int]]:
        for name in ("speech.test", "speech.test_voice"):
            audios = [record["messages"][0]["audio"] for record in chosen(corpus, name, 2, 0)]
            if [len(wave) for wave in waves] == [len(wave) for wave in waves_of(random_system, corpus, audios)]:
                return [phones_of(audio) for audio in audios]
        raise AssertionError("neither set")

    monkeypatch.setattr(tokenizer_module, "read_phones", read)
    figures = {figure.name: figure for figure in judge_tokenizer(random_system, corpus, 2, 0)}
    for voices in ("known", "unseen"):
        assert figures[f"phone error rate, {voices} voices"].value == 0.0
        assert figures[f"phone error rate, {voices} voices"].reached
    assert figures["bit rate, nominal"].value == 300.0


def test_everything_is_judged_the_same_twice(random_system: System, corpus: Path) -> None:
    told: list[str] = []
    first = judge_all(random_system, corpus, num_items=2, seed=1, progress=told.append)
    assert first.left_out == {}
    assert [line for line in told if line.startswith("judging")] == [
        f"judging {part}"
        for part in (
            *("tokenizer", "detokenizer", "voice", "control", "speed"),
            *("language", "spoken answers", "jointness", "latency"),
        )
    ]
    table = {(figure.part, figure.name): figure for figure in first.figures if not figure.group}
    assert table["tokenizer", "phone error rate, known voices"].value > 50
    assert table["language", "answers right"].value == 0.0
    assert table["spoken answers", "all four right, known voices"].value == 0.0
    assert table["language", "text to units, word error read back"].num_items == 2
    lengths = [table["language", f"length of a spoken reply{rest}"] for rest in ("", " without its units")]
    assert lengths[0].value > lengths[1].value > 0.0 and {figure.num_items for figure in lengths} == {2}
    assert len({(f.part, f.name, f.group) for f in first.figures}) == len(first.figures)
    again = judge_all(random_system, corpus, num_items=2, seed=1)
    one, other = (
        [item.as_dict() for item in found.figures if item.part not in ("speed", "latency")] for found in (first, again)
    )
    assert one == other


def test_parts_that_are_missing_are_named(random_system: System, corpus: Path) -> None:
    ears = System(random_system.plan, {"tokenizer": random_system.part("tokenizer")})
    judgement = judge_all(ears, corpus, num_items=1, seed=0)
    assert {figure.part for figure in judgement.figures} == {"tokenizer"}
    assert judgement.left_out["detokenizer"] == ("style", "detokenizer")


def test_without_a_corpus_the_message_names_the_command(random_system: System, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"omnikit data make --out {tmp_path / 'none'} --hours 40 --seed 1"):
        judge_all(random_system, tmp_path / "none", num_items=2, seed=0)


def test_no_items_are_refused(random_system: System, corpus: Path) -> None:
    with pytest.raises(OmnikitError, match="num_items is 0"):
        judge_all(random_system, corpus, num_items=0, seed=0)


def test_records_are_chosen_by_the_seed(corpus: Path) -> None:
    ids = [[record["id"] for record in chosen(corpus, "speech.train", 5, seed)] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] == sorted(ids[0])
    assert len(set(ids[0])) == 5
    assert ids[0] != ids[2]


def test_batches_keep_the_order_and_the_limit() -> None:
    items = [7, 1, 3, 9, 2, 2, 20]
    batches: list[list[int]] = []

    def run(batch: list[int]) -> list[int]:
        batches.append(batch)
        return [10 * item for item in batch]

    assert in_batches(items, float, 10.0, run) == [10 * item for item in items]
    assert all(len(batch) * max(batch) <= 10 or len(batch) == 1 for batch in batches)
    assert len(batches) < len(items)
    assert in_batches([], float, 10.0, run) == []


def test_a_batch_hears_what_singles_hear(random_system: System, corpus: Path) -> None:
    waves = waves_of(random_system, corpus, [r["messages"][0]["audio"] for r in chosen(corpus, "speech.train", 4, 0)])
    together, phones = units_of(random_system, waves), read_phones(random_system, waves)
    for wave, units, read in zip(waves, together, phones, strict=True):
        assert torch.equal(units.codes, units_of(random_system, [wave])[0].codes)
        assert read == read_phones(random_system, [wave])[0]


NO_ITEMS = (
    ("tokenizer", "codebook"),
    ("tokenizer", "bit rate"),
)
"""Counts and entropies: neither means nor ratios over items."""


def test_every_mean_and_ratio_has_the_items_that_it_is_made_of(random_system: System, corpus: Path) -> None:
    figures = [item for item in judge_all(random_system, corpus, num_items=3, seed=0).figures if not item.group]
    for figure in figures:
        if figure.name.startswith(tuple(name for part, name in NO_ITEMS if part == figure.part)):
            assert figure.items is None, figure
        elif not math.isnan(figure.value):
            assert figure.items is not None, figure
            scale = 100 if figure.unit == "%" else 1
            made = scale * sum(figure.items.errors) / sum(figure.items.lengths)
            assert made == pytest.approx(figure.value), figure
            assert len(set(figure.items.ids)) == len(figure.items.ids) == len(figure.items.clusters)
    by_name = {(figure.part, figure.name): figure for figure in figures}
    asked = {record["id"]: record["messages"][0] for record in chosen(corpus, "dialogue.test", 3, 0)}
    heard = by_name["spoken answers", "question heard, known voices"].items
    assert heard is not None
    assert dict(zip(heard.ids, heard.clusters, strict=True)) == {k: m["audio"]["voice"] for k, m in asked.items()}
    seen = by_name["language", "answers right"].items
    pictures = {record["messages"][0]["image"]["path"] for record in chosen(corpus, "vqa.test", 3, 0)}
    assert seen is not None and set(seen.clusters) == pictures
    said = by_name["language", "text to units, word error read back"].items
    assert said is not None and said.clusters == said.ids, "no voice is heard: every text is its own"
    assert by_name["voice", "emotion recognised, made speech"].confusion is not None
    use = by_name["tokenizer", "codebook used"].use
    assert use is not None
    assert 100 * sum(map(len, use.counts)) / sum(use.sizes) == by_name["tokenizer", "codebook used"].value


def test_what_could_not_be_measured_stays_an_item_of_no_length() -> None:
    names = Names(["a", "b", "c"], ["x", "x", "y"])
    items = names.items([1.0, math.nan], indices=[0, 2])
    assert (items.ids, items.clusters) == (["a", "c"], ["x", "y"])
    assert (items.errors, items.lengths) == ([1.0, 0.0], [1.0, 0.0])
    assert names.items([2, 3, 4], [5, 6, 7]).lengths == [5, 6, 7]
