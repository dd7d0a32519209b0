"""The synthesiser: the same call gives the same bytes whatever came before, closed phones, prosody that obeys."""

from __future__ import annotations

import hashlib
import itertools
import random
import subprocess
import sys

import numpy as np
import parselmouth
import pytest

from omnikit.data.espeak import Espeak, pitch_settings
from omnikit.data.phones import PHONE_INDEX, PHONES, phones_of
from omnikit.data.prosody import FACTORS, HELD_OUT_STYLES, NEUTRAL, Prosody, compositions, prosody_of, style_rule
from omnikit.data.texts import random_words
from omnikit.data.voices import CANONICAL_VOICE, TARGET_VOICES, VOICES, voices_of
from omnikit.data.words import VOCABULARY
from omnikit.errors import DataError, UnknownName

TEXT = "the little bird is sitting on the bottle, and the moon is above my house."
PITCH_LIMITS = {"female": (110, 500), "male": (55, 280)}


def median_f0(wave: np.ndarray, gender: str) -> float:
    floor, ceiling = PITCH_LIMITS[gender]
    pitch = parselmouth.Sound(wave.astype(np.float64), 16_000).to_pitch_ac(pitch_floor=floor, pitch_ceiling=ceiling)
    f0 = pitch.selected_array["frequency"]
    return float(np.median(f0[f0 > 0]))


def test_every_voice_gives_the_same_bytes_in_any_order(espeak: Espeak) -> None:
    rng = random.Random(0)
    calls = [
        (random_words(rng), voice, Prosody(rng.uniform(-5, 6), rng.uniform(0.5, 1.4), rng.uniform(90, 190)))
        for voice in VOICES
        for _ in range(10)
    ]
    first = {call: espeak.synthesise(*call).wave.tobytes() for call in calls}
    for _ in range(2):
        rng.shuffle(calls)
        assert [call for call in calls if espeak.synthesise(*call).wave.tobytes() != first[call]] == []
    same_text = {espeak.synthesise(TEXT, voice).wave.tobytes() for voice in VOICES}
    assert len(same_text) == len(VOICES), "two voices are the same"


def test_another_process_gives_the_same_bytes(espeak: Espeak) -> None:
    code = (
        "import hashlib; from omnikit.data.espeak import Espeak;"
        f"print(hashlib.sha256(Espeak().synthesise({TEXT!r}, 'f3').wave.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == hashlib.sha256(espeak.synthesise(TEXT, "f3").wave.tobytes()).hexdigest()


def test_the_inventory_is_closed_over_the_vocabulary(espeak: Espeak) -> None:
    words = [*VOCABULARY, "button", "measure", "idea", "fire", "tired", "uh", "cure"]
    heard = set()
    for start in range(0, len(words), 24):
        heard |= set(espeak.phonemise(" ".join(words[start : start + 24])))
    assert heard == set(PHONES)
    assert len(PHONES) == len(PHONE_INDEX) == 42


def test_phones_of_known_words(espeak: Espeak) -> None:
    assert espeak.phonemise("water") == ("w", "ao", "dx", "er")
    assert espeak.phonemise("star") == ("s", "t", "aa", "r")
    assert espeak.phonemise("bottle") == ("b", "aa", "dx", "ax", "l")
    assert espeak.phonemise("think") == ("th", "ih", "ng", "k")
    assert espeak.phonemise("") == ()
    assert phones_of("_:") == phones_of("'") == ()
    with pytest.raises(DataError, match="not part of American English"):
        phones_of("Q")


def test_phone_times_are_ordered_and_mark_the_hiss_of_s(espeak: Espeak) -> None:
    speech = espeak.synthesise("a sister says the sun is so soft.")
    edges = list(itertools.chain.from_iterable((start, end) for _, start, end in speech.phones))
    assert edges == sorted(edges)
    assert edges[-1] <= speech.wave.size / speech.sample_rate + 1e-3
    hiss = np.convolve(np.diff(speech.wave, n=4) ** 2, np.ones(160) / 160, mode="same")
    centres = [(symbol, int((start + end) / 2 * speech.sample_rate)) for symbol, start, end in speech.phones]
    in_s = [hiss[place] for symbol, place in centres if symbol == "s"]
    assert len(in_s) == 6
    assert np.median(in_s) > 5 * np.median([hiss[place] for symbol, place in centres if symbol[0] in "aeiou"])


@pytest.mark.parametrize("gender", FACTORS["gender"])
def test_target_voices_follow_the_rule(espeak: Espeak, gender: str) -> None:
    voice = TARGET_VOICES[gender]
    plain = espeak.synthesise(TEXT, voice)
    f0 = median_f0(plain.wave, gender)
    for emotion, speed, pitch in [
        ("happy", "normal", "normal"),
        ("sad", "fast", "low"),
        ("angry", "slow", "normal"),
        ("happy", "fast", "high"),
        ("neutral", "slow", "low"),
        ("neutral", "fast", "high"),
    ]:
        style = {"emotion": emotion, "speed": speed, "pitch": pitch}
        rule = style_rule(style)
        speech = espeak.synthesise(TEXT, voice, prosody_of(style))
        assert 12 * np.log2(median_f0(speech.wave, gender) / f0) == pytest.approx(rule.semitones, abs=0.7), style
        assert speech.wave.size / plain.wave.size == pytest.approx(rule.duration_factor, rel=0.04), style
        level = np.sqrt(np.mean(speech.wave**2)) / np.sqrt(np.mean(plain.wave**2))
        assert level == pytest.approx(rule.gain, rel=0.01), style


def test_the_fastest_style_stays_below_16_phones_a_second(espeak: Espeak) -> None:
    fast = prosody_of({"emotion": "angry", "speed": "fast", "pitch": "normal"})
    for voice in (CANONICAL_VOICE, *TARGET_VOICES.values()):
        speech = espeak.synthesise(TEXT, voice, fast)
        assert len(speech.phones) / (speech.wave.size / 16_000) < 16


def test_the_genders_are_apart(espeak: Espeak) -> None:
    f0 = {g: [median_f0(espeak.synthesise(TEXT, v).wave, g) for v in voices_of(g)] for g in FACTORS["gender"]}
    assert max(f0["male"]) < 125 < 160 < min(f0["female"])


def test_voices_and_compositions_are_split() -> None:
    for gender in FACTORS["gender"]:
        assert not set(voices_of(gender)) & set(voices_of(gender, held_out=True))
        assert len(voices_of(gender, held_out=True)) >= 2
        seen = compositions(gender)
        assert len(seen) + len(compositions(gender, held_out=True)) == 36
        for one, other in itertools.combinations(("emotion", "speed", "pitch"), 2):
            pairs = {(style[one], style[other]) for style in seen}
            assert len(pairs) == len(FACTORS[one]) * len(FACTORS[other]), "a pair of values is never heard in training"
    assert len(HELD_OUT_STYLES) == 8
    assert not VOICES[CANONICAL_VOICE].held_out


def test_neutral_asks_for_nothing() -> None:
    assert prosody_of(NEUTRAL) == prosody_of({}) == Prosody()
    assert pitch_settings(Prosody(), 82, 118) == (50, 50)


def test_bad_requests_are_named(espeak: Espeak) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'f3'"):
        espeak.synthesise("hello", "f33")
    with pytest.raises(UnknownName, match="Did you mean 'happy'"):
        prosody_of({"emotion": "hapy"})
    with pytest.raises(UnknownName, match="style factor 'mood'"):
        style_rule({"mood": "happy"})
    with pytest.raises(DataError, match="nothing to say"):
        espeak.synthesise(" ... ")
    with pytest.raises(DataError, match="NUL"):
        espeak.synthesise("a\0b")
