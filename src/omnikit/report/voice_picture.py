"""The picture of an utterance that a detokenizer in training made: spectra, F0, and which frames belong to which unit.

Letters: F frequency bins, N frames, T units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnikit.metrics.prosody import STEP_S
from omnikit.report.pictures import TOP_HZ, spectrum_db
from omnikit.serving.measure import Sound

RECORDED, MADE = "#8a8a8a", "#1b6ca8"
_RANGE_DB = 65.0


@dataclass(frozen=True)
class Utterance:
    """A recording, what was made in its place, and its alignment.

    `durations` [T] are the frames of `frame_s` seconds that every unit lasts, None where nobody knows; `phones` are
    the (symbol, start_s, end_s) of the recording, empty where unknown.
    """

    title: str
    recorded: Sound
    made: Sound
    frame_s: float
    durations: np.ndarray | None
    phones: Sequence[Sequence[str | float]]


def draw_utterance(utterance: Utterance, path: Path) -> None:
    """Write a PNG: both spectrograms, both F0 curves and the alignment, below one another over the same seconds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_panels = 3 if utterance.durations is None else 4
    figure = Figure(figsize=(7.2, 1.7 * num_panels + 0.3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(num_panels, 1, sharex=True)
    _spectrogram(panels[0], utterance.recorded, "recorded")
    _spectrogram(panels[1], utterance.made, "made")
    for name, sound, colour in (("recorded", utterance.recorded, RECORDED), ("made", utterance.made, MADE)):
        panels[2].plot(np.arange(len(sound.f0_hz)) * STEP_S, sound.f0_hz, color=colour, label=name)
    panels[2].set_ylabel("F0, Hz", fontsize=8)
    panels[2].legend(fontsize=7, ncols=2, frameon=False, loc="upper right")
    if utterance.durations is not None:
        _alignment(panels[3], utterance.durations, utterance)
    for panel in panels:
        panel.tick_params(labelsize=7)
    panels[-1].set_xlabel("s", fontsize=8)
    panels[-1].set_xlim(0, max(utterance.recorded.duration_s, utterance.made.duration_s))
    figure.suptitle(utterance.title, fontsize=9)
    figure.savefig(path, metadata={"Software": None})


def _spectrogram(panel: Any, sound: Sound, name: str) -> None:
    level = spectrum_db(sound)  # [F, N]
    extent = (0, sound.duration_s, 0, min(TOP_HZ, sound.sample_rate / 2) / 1000)
    loudest = level.max()
    panel.imshow(
        level, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=loudest - _RANGE_DB, vmax=loudest
    )
    panel.set_ylabel(f"{name}, kHz", fontsize=8)


def _alignment(panel: Any, durations: np.ndarray, utterance: Utterance) -> None:
    """The unit of every moment as a staircase; phones of the recording as lines between which it should step."""
    ends = np.cumsum(durations) * utterance.frame_s
    panel.stairs(np.arange(len(durations)), np.concatenate([[0.0], ends]), baseline=None, color=MADE)
    for symbol, start, _ in utterance.phones:
        if float(start) < utterance.recorded.duration_s:
            panel.axvline(float(start), color=RECORDED, linewidth=0.4)
            panel.text(float(start), len(durations), str(symbol), fontsize=6, va="bottom")
    panel.set_ylim(0, len(durations))
    panel.set_ylabel("unit", fontsize=8)
