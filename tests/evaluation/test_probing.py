"""Probing utterances whose units leak what was planted in them, and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from omnikit.evaluation.hearing import Heard
from omnikit.evaluation.leakage_table import Report, compare_table, probe_table, reader_table
from omnikit.evaluation.probing import Reading, read_factors, strongest, unit_table
from omnikit.evaluation.trials import deal_voices, evenly_shuffled
from omnikit.evaluation.views import MELS, RUNS, UNITS, digits_of, views_of
from omnikit.metrics import sequence_probes

VOICES = {f"{gender[0]}{number}": gender for gender in ("female", "male") for number in range(6)}
NUM_UNITS = 8
NUM_FRAMES = 24

Units = Callable[[dict[str, str], np.ndarray, np.random.Generator], np.ndarray]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_probes, "STEPS", 50)


def utterances(num: int, seed: int, units_of: Units) -> list[Heard]:
    """Utterances of twelve voices; phones are random, mels hold gender and phone, units what `units_of` says."""
    rng = np.random.default_rng(seed)
    table = np.random.default_rng(7).standard_normal((NUM_UNITS, 5)).astype(np.float32)
    found = []
    for number in range(num):
        voice = list(VOICES)[number % len(VOICES)]
        labels = {"gender": VOICES[voice], "speed": ("slow", "fast")[int(rng.integers(2))]}
        phones = rng.integers(0, 4, NUM_FRAMES)
        codes = units_of(labels, phones, rng)[None]
        mels = np.eye(4, 6, dtype=np.float32)[phones]
        mels[:, 4] = labels["gender"] == "male"
        found.append(
            Heard(
                voice=voice,
                labels=labels,
                spans=[(int(phone), at / 25, (at + 1) / 25) for at, phone in enumerate(phones)],
                seconds=NUM_FRAMES / 25,
                unit_rate=25.0,
                sizes=(NUM_UNITS,),
                codes=codes,
                durations=None,
                vectors=table[codes[0]],
                book_vectors=[],
                features=None,
                feature_rate=25.0,
                mels=mels + 0.1 * rng.standard_normal(mels.shape).astype(np.float32),
                mel_rate=25.0,
            )
        )
    return found


@functools.cache
def readings_of(units_of: Units, seed: int = 0) -> tuple[Reading, ...]:
    train, test = utterances(72, 10 + seed, units_of), utterances(48, 20 + seed, units_of)
    return tuple(read_factors(train, test, views_of(train, test), seed))


def gendered(labels: dict[str, str], phones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 2 * rng.integers(0, 4, len(phones)) + (labels["gender"] == "male")


def phonetic(labels: dict[str, str], phones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return phones + 4


def noise(labels: dict[str, str], phones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, NUM_UNITS, len(phones))


def held(labels: dict[str, str], phones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random units, each held for two frames where speech is slow."""
    times = 2 if labels["speed"] == "slow" else 1
    hops = rng.integers(1, NUM_UNITS, NUM_FRAMES // times).cumsum() % NUM_UNITS  # never twice the same
    return np.repeat(hops, times)


def test_a_planted_gender_is_read_from_voices_that_were_not_seen() -> None:
    readings = readings_of(gendered)
    for reader in ("pooled", "unit histogram", "sequence"):
        own = next(r for r in readings if (r.factor, r.view, r.reader) == ("gender", UNITS, reader))
        assert own.accuracy.value > 0.97
        assert own.shuffled.value < 0.85
        assert own.num_voices == 12
    speed = strongest(readings, "speed", UNITS)
    assert speed is not None
    assert speed.accuracy.low < 0.5 < speed.accuracy.high


def test_every_accuracy_is_made_of_utterances_in_which_classes_weigh_the_same() -> None:
    test = utterances(48, 20, phonetic)
    for reading in readings_of(phonetic):
        for rate, scored in ((reading.accuracy, reading.scored), (reading.shuffled, reading.scored_shuffled)):
            assert len(scored.numbers) == len(scored.hits) == len(scored.weights) == rate.num_items
            assert sum(scored.hits) / sum(scored.weights) == pytest.approx(rate.value)
        assert all(0 <= hit <= weight for hit, weight in zip(reading.scored.hits, reading.scored.weights, strict=True))
        assert "scored" not in reading.as_dict() and Reading.from_dict(reading.as_dict()) == reading
    weights = {}
    speed = next(item for item in readings_of(phonetic) if item.factor == "speed")
    for number, weight in zip(speed.scored.numbers, speed.scored.weights, strict=True):
        label = test[number - 72].labels["speed"]
        weights[label] = weights.get(label, 0.0) + weight
    assert weights["slow"] == pytest.approx(weights["fast"]) and sum(weights.values()) == pytest.approx(48)


def test_random_units_are_read_at_chance_and_mels_are_not() -> None:
    readings = readings_of(noise)
    for factor in ("phone", "speaker", "gender", "speed"):
        own = strongest(readings, factor, UNITS)
        assert own is not None
        assert own.accuracy.low <= own.chance <= own.accuracy.high + 0.05
    for factor in ("phone", "gender"):
        mels = strongest(readings, factor, MELS)
        assert mels is not None
        assert mels.accuracy.value > 0.95


def test_phones_are_read_from_phonetic_units_and_their_shuffle_is_not() -> None:
    for reading in (r for r in readings_of(phonetic) if r.factor == "phone" and r.view == UNITS):
        assert reading.accuracy.value > 0.97, reading.reader
        assert reading.shuffled.value < 0.6  # four units, so a shuffled reader may be right by luck
        assert reading.num_classes == 4


def test_speed_hides_in_run_lengths_alone() -> None:
    readings = readings_of(held)
    runs = strongest(readings, "speed", RUNS)
    average = next(r for r in readings if (r.factor, r.view, r.reader) == ("speed", UNITS, "pooled"))
    assert runs is not None
    assert runs.accuracy.value == 1.0
    assert average.accuracy.value < 0.8


def test_voices_are_dealt_evenly_and_by_the_seed() -> None:
    heard = utterances(24, 0, noise)
    hands = deal_voices(heard, 0)
    for gender in ("female", "male"):
        counts = np.bincount([hand for voice, hand in hands.items() if VOICES[voice] == gender], minlength=3)
        assert counts.tolist() == [2, 2, 2]
    assert hands == deal_voices(heard, 0)
    assert hands != deal_voices(heard, 1)


def test_the_control_is_even_over_the_true_classes() -> None:
    labels = np.repeat([0, 1, 2], [12, 6, 6])
    new = evenly_shuffled(labels, np.random.default_rng(0))
    assert sorted(new) == sorted(labels)
    for label in range(3):
        assert np.bincount(new[labels == label], minlength=3) / (labels == label).sum() == pytest.approx(
            [0.5, 0.25, 0.25], abs=0.1
        )
    assert not np.array_equal(new, evenly_shuffled(labels, np.random.default_rng(1)))


def test_a_factor_of_one_value_is_left_out() -> None:
    train, test = ([item for item in utterances(48, seed, noise) if item.labels["gender"] == "male"] for seed in (0, 1))
    readings = read_factors(train, test, views_of(train, test), 0)
    assert not [item for item in readings if item.factor == "gender"]
    assert [item for item in readings if item.factor == "speaker"]
    report = Report("x", {}, tuple(readings), ())
    assert "| gender | not measurable |" in probe_table(report)


def test_digits_are_what_few_values_make() -> None:
    vectors = [np.array([[-1.0, 0.5], [0.0, 0.5]]), np.array([[1.0, 0.0]])]
    digits = digits_of(vectors)
    assert digits is not None
    assert [row.tolist() for row in digits[0]] == [[1, 0, 0, 0, 1], [0, 1, 0, 0, 1]]
    assert digits[1].tolist() == [[0, 0, 1, 1, 0]]
    assert digits_of([np.linspace(0, 1, 40)[:, None]]) is None


def test_the_unit_table_is_bayes_rule_and_new_units_say_nothing() -> None:
    ids, classes = np.array([[0, 0, 1, 1, 2, 2], [5, 5, 5, 5, 9, 9]]), np.array([0, 0, 1, 1, 2, 2])
    read = unit_table(ids, classes, 3)
    assert read(np.array([[1, 7, 7], [5, 9, 3]])).tolist() == [1, 2, 0]


def test_reports_survive_json_and_stand_side_by_side() -> None:
    readings = tuple(readings_of(gendered))
    again = tuple(Reading.from_dict(item.as_dict()) for item in readings)
    assert again == readings
    reports = [Report("one", {}, readings, ()), Report("other", {}, readings, ())]
    table = compare_table(reports)
    assert "| read from | factor | chance | one | other |" in table
    assert "| units | phone | 25.0 |" in table
    assert "| gender | – | – | 100.0" in reader_table(reports[0])
