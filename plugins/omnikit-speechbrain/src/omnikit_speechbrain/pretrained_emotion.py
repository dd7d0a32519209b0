"""Checkpoints of SpeechBrain's emotion recogniser as `input_style/emotion_wav2vec2`.

Its repository holds the weights, and names the encoder that they were tuned from; the configuration is there.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

import omnikit
from omnikit.artefacts import fill_from
from omnikit.errors import WeightsError
from omnikit_speechbrain.checkpoints import download, read_checkpoint, under
from omnikit_speechbrain.emotion import EmotionWav2Vec2

ENCODER = "facebook/wav2vec2-base"
"""The model whose configuration the published recogniser has."""
FILES = {"wav2vec2.ckpt": "", "model.ckpt": "", "label_encoder.txt": "", "config.json": ENCODER}
FILES["preprocessor_config.json"] = ENCODER
_NAMES = {"neu": "neutral", "ang": "angry", "hap": "happy", "sad": "sad"}
_LABEL = re.compile(r"^'(\w+)' => (\d+)$")
_END = "===="
"""Behind it stand settings, written like labels."""
_UNUSED = "model.masked_spec_embed"


def fetch(source: str) -> Path:
    """A folder with every file that `load_emotion` reads. Raises `WeightsError` without a network."""
    folder = Path(tempfile.mkdtemp(prefix="omnikit-emotion-"))
    for name, elsewhere in FILES.items():
        shutil.copyfile(download(elsewhere or source, name), folder / name)
    return folder


def load_emotion(folder: Path) -> EmotionWav2Vec2:
    """The component of a folder: `wav2vec2.ckpt`, `model.ckpt` and `label_encoder.txt` of the recogniser, and
    `config.json` and `preprocessor_config.json` of its encoder.

    Raises `WeightsError` for files that are missing or none of these, and for tensors that do not fit.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise WeightsError(f"{folder} lacks {', '.join(missing)}; give a folder with {', '.join(FILES)}.")
    encoder = read_checkpoint(folder / "wav2vec2.ckpt", "Wav2Vec2", ("model.feature_projection.projection.weight",))
    encoder.pop(_UNUSED, None)  # stands for what is masked in pre-training
    classifier = read_checkpoint(folder / "model.ckpt", "emotion classifier", ("0.w.weight",))["0.w.weight"]
    emotions = read_labels(folder / "label_encoder.txt")
    if len(emotions) != len(classifier):
        raise WeightsError(f"{folder}: {len(emotions)} labels for a classifier of {len(classifier)} rows.")
    width = json.loads((folder / "config.json").read_text()).get("hidden_size")
    model = {"pretrained": str(folder), "dim": width if isinstance(width, int) else classifier.shape[1]}
    component: EmotionWav2Vec2 = omnikit.create("input_style/emotion_wav2vec2", model=model, emotions=emotions)
    stored = {**under("encoder", encoder), "classifier.w.weight": classifier}
    fill_from(component, stored, str(folder))
    return component.eval()


def read_labels(path: Path) -> list[str]:
    """Names of the emotions in the order of the classifier's rows; IEMOCAP's short ones are spelled out.

    Raises `WeightsError` for a file without labels 0, 1, 2 …
    """
    labels, _, _ = path.read_text(encoding="utf-8").partition(_END)
    lines = (_LABEL.match(line.strip()) for line in labels.splitlines())
    places = {int(line[2]): line[1] for line in lines if line is not None}
    if not places or sorted(places) != list(range(len(places))):
        raise WeightsError(f"{path} is no label encoder of SpeechBrain: it numbers no labels from 0.")
    return [_NAMES.get(places[place], places[place]) for place in range(len(places))]
