"""Recordings whose style is labelled, read off the records of a corpus."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile

ENERGY_STEP_DB = 2.5
"""How far a recording is from the median level of its speaker to be called low or high in energy."""


@dataclass(frozen=True)
class StyledRecording:
    """A sound file of `duration_s` seconds and the style that it is spoken in."""

    path: str
    duration_s: float
    labels: Mapping[str, str]


def styled_recordings(records: Sequence[Mapping[str, Any]]) -> Iterator[StyledRecording]:
    """Every labelled recording: of a message its rendering where it has one, else its own audio.

    Labels are those of the record, and `speaker`, the name of the voice.
    """
    for record in records:
        for message in record["messages"]:
            spoken = message.get("rendering") or message
            audio, style = spoken.get("audio"), spoken.get("style")
            if audio and style:
                speaker = {"speaker": audio["voice"]} if "voice" in audio else {}
                yield StyledRecording(audio["path"], audio["duration_s"], {**style, **speaker})


def with_energy(root: Path, recordings: Sequence[StyledRecording]) -> list[StyledRecording]:
    """The recordings with the label `energy`: low, normal or high.

    Measured, not told: the level of the recording against the median level of its speaker's, 2.5 dB making the step.
    """
    levels = [_level_db(root / recording.path) for recording in recordings]
    by_speaker: dict[str, list[float]] = defaultdict(list)
    for recording, level in zip(recordings, levels, strict=True):
        by_speaker[recording.labels.get("speaker", "")].append(level)
    usual = {speaker: median(own) for speaker, own in by_speaker.items()}
    named = []
    for recording, level in zip(recordings, levels, strict=True):
        above = level - usual[recording.labels.get("speaker", "")]
        energy = "high" if above > ENERGY_STEP_DB else "low" if above < -ENERGY_STEP_DB else "normal"
        named.append(replace(recording, labels={**recording.labels, "energy": energy}))
    return named


def spread_over_styles(recordings: Sequence[StyledRecording], seconds: float) -> list[StyledRecording]:
    """The first recordings of every combination of labels, about `seconds` of each, shortest first."""
    used: dict[tuple[tuple[str, str], ...], float] = defaultdict(float)
    chosen = []
    for recording in recordings:
        key = tuple(sorted(recording.labels.items()))
        if used[key] < seconds:
            used[key] += recording.duration_s
            chosen.append(recording)
    return sorted(chosen, key=lambda item: (item.duration_s, item.path))


def _level_db(path: Path) -> float:
    wave, _ = soundfile.read(path, dtype="float32")
    return 10 * math.log10(max(float(np.mean(np.square(wave, dtype=np.float64))), 1e-12))
