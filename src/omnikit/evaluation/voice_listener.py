"""A small listener: which emotion, speed, pitch, gender and voice it hears, learnt from the corpus's own recordings.

It is no human ear. It says whether what training speech shows in a style is there in made speech too.

Letters: S samples, N recordings, D features, M mel bands, T frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from omnikit.evaluation.material import Record, chosen, ear_rate, read_phones, waves_of
from omnikit.evaluation.voice_similarity import Voiceprints
from omnikit.metrics.probes import Examples, LinearProbe, fit_linear, pooled
from omnikit.metrics.voice import voice_of
from omnikit.nn.spectrogram import Spectrogram
from omnikit.system import System

TRAIN_STYLES, TRAIN_VOICES = "voice.train", "speech.train"
NUM_BANDS = 40
VOICE = "voice"
_NO_PITCH_HZ = 50.0
_SHORTEST_S = 0.1


@dataclass(frozen=True)
class Listener:
    """A linear probe for every factor, the values it can hear, and the timbres of the voices that it knows.

    `voice` is heard by timbre alone.
    """

    probes: Mapping[str, LinearProbe]
    values: Mapping[str, Sequence[str]]
    voiceprints: Voiceprints

    def hear(self, factor: str, waves: Sequence[np.ndarray], system: System) -> list[str]:
        """The value of `factor` that is heard in each wave [S] (at the tokenizer's rate)."""
        features = timbre(waves, ear_rate(system)) if factor == VOICE else manner(waves, system)
        return [self.values[factor][index] for index in self.probes[factor].read(features)]


def manner(waves: Sequence[np.ndarray], system: System) -> np.ndarray:
    """How each wave is said, and by whom [N, D]: F0, level, tilt and phones a second as heard, and its timbre."""
    rate = ear_rate(system)
    rows = []
    for wave, phones in zip(waves, read_phones(system, waves), strict=True):
        voice = voice_of(wave, rate)
        voiced = not math.isnan(voice.f0_hz)
        known = [math.log2(voice.f0_hz if voiced else _NO_PITCH_HZ), float(voiced)]
        loud = [-100.0 if math.isnan(voice.level_db) else voice.level_db, 0.0 if math.isnan(voice.tilt) else voice.tilt]
        rows.append([*known, *loud, math.log2((1 + len(phones)) / max(voice.seconds, _SHORTEST_S))])
    return np.column_stack([np.array(rows), timbre(waves, rate)])


def timbre(waves: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
    """Mean and standard deviation over time of each wave's log-mels, each band against their mean [N, 2 · M]."""
    spectra = Spectrogram(
        sample_rate, 2 * (sample_rate // 64), 2 * (sample_rate // 200), NUM_BANDS, 0.0, sample_rate / 2
    )
    rows = []
    for wave in waves:
        samples = np.pad(wave, (0, max(0, spectra.fft_size - len(wave)))).astype(np.float32)
        magnitude, _ = spectra.linear(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
        frames = spectra.log_mel(magnitude)[0].T.double().numpy()  # [T, M]
        rows.append(pooled(frames - frames.mean(1, keepdims=True)))
    return np.array(rows)


def train_listener(system: System, corpus: Path, factors: Sequence[str], num_items: int, seed: int) -> Listener:
    """Fit a listener on `num_items` styled recordings (for `factors`) and as many of all training voices.

    Factors that do not vary there are left out.
    """
    styled = [_rendering(record) for record in chosen(corpus, TRAIN_STYLES, num_items, seed)]
    said = [record["messages"][0] for record in chosen(corpus, TRAIN_VOICES, num_items, seed)]
    heard = manner(waves_of(system, corpus, [item["audio"] for item in styled]), system)
    voices = timbre(waves_of(system, corpus, [item["audio"] for item in said]), ear_rate(system))
    known = {name: (heard, [item["style"][name] for item in styled]) for name in factors if name in styled[0]["style"]}
    known[VOICE] = (voices, [item["audio"]["voice"] for item in said])
    probes, values = {}, {}
    for number, (name, (features, labels)) in enumerate(known.items()):
        values[name] = sorted(set(labels))
        if len(values[name]) < 2:
            del values[name]
            continue
        classes = np.array([values[name].index(label) for label in labels])
        examples = Examples(features, classes, np.arange(len(classes)))
        probes[name] = fit_linear(examples, len(values[name]), np.random.default_rng([seed, number]))
    return Listener(probes, values, Voiceprints.of(voices, known[VOICE][1]))


def _rendering(record: Record) -> Record:
    rendering: Record = record["messages"][0]["rendering"]
    return rendering
