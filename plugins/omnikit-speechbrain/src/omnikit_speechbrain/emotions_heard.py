"""`omnikit-speechbrain-emotions PART --audio FOLDER`: how often a recogniser hears the emotion that was meant.

FOLDER holds a folder of recordings for every emotion: `happy/1.wav`, `sad/1.wav` … What it hears in speech that was
made is no human judgement: it says whether such speech shows what this classifier learnt of acted emotions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omnikit.artefacts import component_folder, load_component
from omnikit.data.media import load_audio, recordings_in
from omnikit.errors import DataError, OmnikitError, WeightsError
from omnikit.nn.hf_speech import SAMPLE_RATE
from omnikit_speechbrain.emotion import EmotionWav2Vec2

_Z = 1.959964


@dataclass(frozen=True)
class Heard:
    """What was heard, by what was meant: `counts[meant][heard]` recordings."""

    counts: Mapping[str, Mapping[str, int]]

    @property
    def recall(self) -> float:
        """The mean over meant emotions of the share heard as such: chance is one over the classifier's emotions."""
        return sum(row[meant] / sum(row.values()) for meant, row in self.counts.items()) / len(self.counts)

    def markdown(self) -> str:
        """A row for every meant emotion with the 95 % interval of its share, and the mean over emotions."""
        emotions = list(next(iter(self.counts.values())))
        lines = [f"| meant | {' | '.join(emotions)} | heard as meant |", "|---" * (len(emotions) + 2) + "|"]
        for meant, row in self.counts.items():
            counts = " | ".join(str(row[emotion]) for emotion in emotions)
            lines.append(f"| {meant} | {counts} | {_share(row[meant], sum(row.values()))} |")
        return "\n".join([*lines, f"\nUnweighted average recall: {100 * self.recall:.1f} %"])


def _share(hits: int, total: int) -> str:
    """A share with Wilson's score interval.

    Ref: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    value, spread = hits / total, _Z**2 / total
    centre = (value + spread / 2) / (1 + spread)
    half = _Z * (value * (1 - value) / total + spread / (4 * total)) ** 0.5 / (1 + spread)
    return f"{100 * value:.1f} % [{100 * max(0.0, centre - half):.1f}, {100 * min(1.0, centre + half):.1f}] (n={total})"


def hear(recogniser: EmotionWav2Vec2, folder: Path) -> Heard:
    """Listen to every recording below `folder`, each alone.

    Raises `DataError` for a recording whose folder names none of the emotions, `MediaError` for an unusable one.
    """
    emotions = recogniser.emotions
    counts: dict[str, dict[str, int]] = {}
    for name in recordings_in(folder):
        meant = Path(name).parts[0]
        if meant not in emotions:
            raise DataError(
                f"{folder / name} lies in no folder of an emotion.\n"
                f"Accepted below {folder}: folders named {', '.join(emotions)}."
            )
        place = int(recogniser.probabilities(load_audio(folder / name, SAMPLE_RATE)).argmax())
        row = counts.setdefault(meant, dict.fromkeys(emotions, 0))
        row[emotions[place]] += 1
    return Heard({emotion: counts[emotion] for emotion in emotions if emotion in counts})


def main(argv: Sequence[str] | None = None) -> int:
    """Listen, count, print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="omnikit-speechbrain-emotions", description=__doc__)
    parser.add_argument("part", metavar="PART", help="a trained input_style/emotion_wav2vec2")
    parser.add_argument("--audio", required=True, metavar="FOLDER", help="recordings, a folder for every emotion")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    args = parser.parse_args(argv)
    try:
        recogniser = load_component(component_folder(args.part))
        if not isinstance(recogniser, EmotionWav2Vec2):
            raise WeightsError(f"{args.part} holds no input_style/emotion_wav2vec2.")
        heard = hear(recogniser, Path(args.audio))
    except OmnikitError as error:
        print(f"omnikit-speechbrain-emotions: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"counts": heard.counts, "recall": heard.recall}) if args.json else heard.markdown())
    return 0
