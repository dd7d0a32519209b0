"""Balanced accuracy and its intervals: they cover the truth as often as they say, also with few voices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnikit.metrics.clustered import balanced_accuracy, clustered_ratio


def test_no_frequent_class_outweighs_another() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    rate = balanced_accuracy(labels, np.zeros(100, int), [str(n % 5) for n in range(100)])
    assert rate.value == 0.5
    assert rate.num_items == 100


def test_the_value_is_the_mean_recall() -> None:
    labels, said = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 2])
    assert balanced_accuracy(labels, said, list("aabbcc")).value == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)


@pytest.mark.parametrize("num_voices", [6, 36])
def test_the_interval_covers_the_truth_although_voices_differ(num_voices: int) -> None:
    """Two classes with voice effects: each voice's chance to be read right is uniform in 0.4 … 0.8, mean 0.6."""
    rng = np.random.default_rng(1)
    covered, trials = 0, 300
    for trial in range(trials):
        chances = rng.uniform(0.4, 0.8, num_voices)
        labels = np.tile(np.arange(20) % 2, num_voices)
        hits = rng.random(len(labels)) < np.repeat(chances, 20)
        voices = np.repeat(np.arange(num_voices), 20).astype(str).tolist()
        rate = balanced_accuracy(labels, np.where(hits, labels, 1 - labels), voices, seed=trial)
        covered += rate.low <= 0.6 <= rate.high
    assert 0.90 <= covered / trials <= 0.99


def test_resampling_utterances_alone_would_claim_too_much() -> None:
    rng = np.random.default_rng(0)
    hits = np.repeat(rng.random(8) < 0.5, 50).astype(float)  # a voice is read always or never
    voices = np.repeat(np.arange(8), 50).astype(str).tolist()
    by_voice = clustered_ratio(hits, np.ones(400), voices)
    by_utterance = clustered_ratio(hits, np.ones(400), np.arange(400).astype(str).tolist())
    assert by_voice.high - by_voice.low > 4 * (by_utterance.high - by_utterance.low)


def test_all_right_is_no_certainty() -> None:
    rate = clustered_ratio(np.ones(30), np.ones(30), [str(n % 10) for n in range(30)])
    z2 = 1.959964**2
    assert (rate.value, rate.high) == (1.0, 1.0)
    assert rate.low == pytest.approx(10 / (10 + z2), abs=1e-6)  # Wilson's bound for ten of ten


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    hits, voices = np.arange(40) % 3 == 0, [str(n % 8) for n in range(40)]
    narrow, wide = (clustered_ratio(hits, np.ones(40), voices, confidence=level) for level in (0.95, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_voice_has_no_interval_and_nothing_has_no_value() -> None:
    assert math.isnan(clustered_ratio(np.array([1.0, 0.0]), np.ones(2), ["a", "a"]).low)
    assert math.isnan(clustered_ratio(np.empty(0), np.empty(0), []).value)
