"""What is measured of a sound: how long it is, how high, how loud, and which phones are read back from it.

Letters: S samples, N pitch frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import parselmouth
import soundfile

from omnikit.data.media import resample
from omnikit.data.phones import PHONES
from omnikit.data.speech_batches import pad_audio
from omnikit.metrics.codebooks import UnitUse, unit_use
from omnikit.metrics.prosody import CEILING_HZ, FLOOR_HZ, STEP_S, median_pitch
from omnikit.metrics.rates import Rate, error_rate
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.types import Audio

_BATCH_S = 30.0


@dataclass(frozen=True)
class Sound:
    """A waveform [S] at `sample_rate` Hz, its F0 track `f0_hz` [N] (every 10 ms, NaN where unvoiced) and its median F0.

    `median_f0_hz` is NaN where there is too little voiced sound.
    """

    wave: np.ndarray
    sample_rate: int
    f0_hz: np.ndarray
    median_f0_hz: float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.wave) / self.sample_rate

    @property
    def level_db(self) -> float:
        """Root mean square in dB below full scale; -inf for digital silence."""
        rms = float(np.sqrt(np.mean(np.square(self.wave, dtype=np.float64))))
        return 20 * math.log10(rms) if rms > 0 else -math.inf


def sound_of(audio: Audio) -> Sound:
    """Row 0 of a batch with its F0 track."""
    return listen(audio.wave[0, : int(audio.lengths[0])].detach().cpu().numpy(), audio.sample_rate)


def read_sound(path: Path) -> Sound:
    """A mono sound file with its F0 track."""
    wave, rate = soundfile.read(path, dtype="float32")
    return listen(wave, rate)


def listen(wave: np.ndarray, sample_rate: int) -> Sound:
    """A wave [S] with its F0 track, by the method of `median_pitch`; the track is unvoiced where that has no median."""
    pitch = median_pitch(wave, sample_rate)
    track = np.full(round(len(wave) / sample_rate / STEP_S), np.nan)
    if not math.isnan(pitch.median_hz):
        samples = np.asarray(wave, dtype=np.float64)
        sound = parselmouth.Sound(samples / np.abs(samples).max(), sampling_frequency=float(sample_rate))
        found = sound.to_pitch_ac(time_step=STEP_S, pitch_floor=FLOOR_HZ, pitch_ceiling=CEILING_HZ)
        hz = found.selected_array["frequency"]
        first = round(found.x1 / STEP_S)
        hz = hz[: max(0, len(track) - first)]
        track[first : first + len(hz)] = np.where(hz > 0, hz, np.nan)
    return Sound(np.asarray(wave, dtype=np.float32), sample_rate, track, pitch.median_hz)


def read_back(tokenizer: SpeechTokenizer, audio: Audio) -> list[str]:
    """The phones that the tokenizer's own recogniser reads from row 0 of `audio` (any rate)."""
    rate = tokenizer.contract(**tokenizer.parameters_given).needs["audio"].sample_rate
    return [PHONES[index] for index in tokenizer.read_phones(resample(audio, rate))[0]]


@dataclass(frozen=True)
class Reading:
    """How a tokenizer does on labelled recordings: its phone error, and which of its `num_units` units it used."""

    phone_error: Rate
    num_units: int
    use: UnitUse
    seconds: float


def read_all(tokenizer: SpeechTokenizer, folder: Path, records: Sequence[Mapping[str, Any]]) -> Reading:
    """Encode and read back the first message of every record."""
    labels, read, ids = [], [], []
    seconds = 0.0
    sizes: tuple[int, ...] = (1,)
    for batch in _batches(records):
        waves = [soundfile.read(folder / item["path"], dtype="float32")[0] for item in batch]
        audio = pad_audio(waves, batch[0]["sample_rate"])
        seconds += sum(audio.seconds)
        labels += [[phone[0] for phone in item["phones"]] for item in batch]
        read += [[PHONES[index] for index in row] for row in tokenizer.read_phones(audio)]
        units = tokenizer.encode(audio)
        sizes = units.sizes
        ids += [row[:, : int(length)].cpu().numpy() for row, length in zip(units.codes, units.lengths, strict=True)]
    return Reading(error_rate(labels, read), math.prod(sizes), unit_use(ids, sizes), seconds)


def _batches(records: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The recordings of the records' first messages, shortest first, in batches of at most half a minute."""
    todo = sorted((record["messages"][0]["audio"] for record in records), key=lambda item: item["duration_s"])
    batches: list[list[Mapping[str, Any]]] = [[]]
    for item in todo:
        if batches[-1] and (len(batches[-1]) + 1) * item["duration_s"] > _BATCH_S:
            batches.append([])
        batches[-1].append(item)
    return batches
