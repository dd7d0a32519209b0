"""Speaker similarity: planted voices are like themselves, unlike others, and who speaks in a wrong voice is seen."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from omnikit.evaluation.figures import Figure
from omnikit.evaluation.voice_listener import timbre
from omnikit.evaluation.voice_quality import Spoken, _similarities
from omnikit.evaluation.voice_similarity import Voiceprints

RATE = 16_000
FORMANTS = {"ann": (700.0, 1800.0), "bob": (400.0, 2600.0), "cy": (1000.0, 3400.0)}


def said(voice: str, number: int) -> np.ndarray:
    """Half a second of noise, with a voice in it that comes and goes: noise in its resonances. Its number draws it."""
    rng = np.random.default_rng([number, *voice.encode()])
    time = np.arange(RATE // 2) / RATE
    hz = np.fft.rfftfreq(len(time), 1 / RATE)
    resonances = sum(np.exp(-(((hz - formant) / 150) ** 2)) for formant in FORMANTS[voice])
    hum = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(time))) * resonances)
    wave = hum * (1 + np.sin(2 * np.pi * 5 * time + rng.uniform(0, 6))) + 0.02 * rng.standard_normal(len(time))
    return (rng.uniform(0.5, 2.0) * wave).astype(np.float32)


@pytest.fixture(scope="module")
def known() -> Voiceprints:
    voices = [voice for voice in FORMANTS for _ in range(6)]
    return Voiceprints.of(timbre([said(voice, number) for number, voice in enumerate(voices)], RATE), voices)


def figures(known: Voiceprints, speaker_of: Mapping[str, str], asked: tuple[str, ...] = ("ann", "bob")) -> list[Figure]:
    """The rows for a voice that speaks as `speaker_of` the voice that it is asked for."""
    rows = []
    for number, voice in enumerate(asked * 3, start=50):
        made, natural = said(speaker_of.get(voice, voice), number), said(voice, number + 50)
        rows.append(Spoken(str(number), {}, voice, made, made, natural))
    return _similarities(rows, known, RATE, "; told")


def test_a_faithful_voice_reaches_its_recordings_and_no_other_voice_does(known: Voiceprints) -> None:
    made, natural, others, closest = figures(known, {})
    assert [figure.name for figure in (made, natural)] == [
        "speaker similarity, made speech",
        "speaker similarity, natural speech",
    ]
    assert made.value > 0.7 and made.value == pytest.approx(natural.value, abs=0.1)
    assert others.value < 0.2 and others.value <= closest.value < natural.value - 0.3
    assert made.low <= made.value <= made.high and (made.num_items, made.unit) == (6, "")
    assert made.how.endswith("; told") and "told" not in natural.how and "cosine of timbre" in natural.how


def test_a_voice_that_speaks_as_another_falls_to_the_floor(known: Voiceprints) -> None:
    made, natural, _, closest = figures(known, {"ann": "bob", "bob": "ann"})
    assert made.value <= closest.value + 0.1 and made.value < natural.value - 0.5
    half = figures(known, {"ann": "bob"})[0]
    assert made.value < half.value < natural.value
    assert half.items is not None and half.items.clusters[:2] == ["ann", "bob"]
    assert half.items.errors[0] < 0.0 < 0.7 < half.items.errors[1]


def test_loudness_is_no_part_of_a_voice(known: Voiceprints) -> None:
    wave = said("cy", 7)
    quiet, loud = (known.compare(timbre([gain * wave], RATE), ["cy"]).own[0] for gain in (0.3, 3.0))
    assert quiet == pytest.approx(loud, abs=0.02) and quiet > 0.7


def test_what_has_no_recordings_is_not_measured(known: Voiceprints) -> None:
    found = known.compare(timbre([said("ann", 1)], RATE), ["dee"])
    assert math.isnan(found.own[0]) and found.others[0] < found.closest[0]
    alone = Voiceprints.of(timbre([said("ann", 1), said("ann", 2)], RATE), ["ann", "ann"])
    only = alone.compare(timbre([said("ann", 3)], RATE), ["ann"])
    assert np.isfinite(only.own[0]) and math.isnan(only.others[0]) and math.isnan(only.closest[0])
    rows = figures(known, {"dee": "ann", "ann": "ann"}, ("ann",))
    assert rows[0].num_items == 3
