"""`omnikit-speechbrain PART --out FOLDER`: published weights of SpeechBrain as a trained part, for use offline.

ECAPA-TDNN is here; `pretrained_emotion` and `pretrained_hifigan` have the others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import omnikit
from omnikit.artefacts import fill_from, name_after_weights, save_component
from omnikit.errors import OmnikitError
from omnikit.slots.base import Component
from omnikit_speechbrain import pretrained_emotion, pretrained_hifigan
from omnikit_speechbrain.checkpoints import download, read_checkpoint, under
from omnikit_speechbrain.ecapa import ECAPA

SOURCES = {
    "ecapa": "speechbrain/spkrec-ecapa-voxceleb",
    "emotion": "speechbrain/emotion-recognition-wav2vec2-IEMOCAP",
    "unit_hifigan": "speechbrain/tts-hifigan-unit-hubert-l6-k100-ljspeech",
}
CHECKPOINT = "embedding_model.ckpt"
LICENCE = "Apache-2.0"
"""Of these sources, by their model cards."""


def load_ecapa(path: Path) -> ECAPA:
    """The component of a checkpoint of `ECAPA_TDNN`; its sizes are read off the tensors.

    Raises `WeightsError` for a file that is none, or tensors that do not fit.
    """
    first, last = "blocks.0.conv.conv.weight", "fc.conv.weight"
    stored = read_checkpoint(path, "ECAPA_TDNN", (first, last))
    blocks = [stored[first].shape[0]]
    blocks += [stored[f"blocks.{index}.tdnn1.conv.conv.weight"].shape[0] for index in (1, 2, 3)]
    component: ECAPA = omnikit.create(
        "style/ecapa",
        dim=stored[last].shape[0],
        channels=[*blocks, stored["mfa.conv.conv.weight"].shape[0]],
        attention_dim=stored["asp.tdnn.conv.conv.weight"].shape[0],
        num_mels=stored[first].shape[1],
    )
    whole = {name: value for name, value in component.state_dict().items() if not name.startswith("network.")}
    fill_from(component, {**whole, **under("network", stored)}, str(path))
    name_after_weights(component, "space_id", "ecapa")
    return component.eval()


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch (or read), convert, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="omnikit-speechbrain", description=__doc__)
    parser.add_argument("part", nargs="?", default="ecapa", choices=list(SOURCES), help="(default: ecapa)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the part goes")
    parser.add_argument("--source", help="a Hugging Face repository (default: that of the part)")
    parser.add_argument("--checkpoint", metavar="FILE", help="a local copy (emotion: a folder); nothing is fetched")
    parser.add_argument("--codebooks", help="unit_hifigan: ids of each codebook, e.g. 1000,1000 (default: one)")
    parser.add_argument("--ratios", default="5,4,4,2,2", help="unit_hifigan: its strides (default: 5,4,4,2,2)")
    parser.add_argument("--vocab-id", help="unit_hifigan: the vocabulary that it speaks (default: named after weights)")
    args = parser.parse_args(argv)
    source = args.source or SOURCES[args.part]
    said = {"source": args.checkpoint or source}
    if source == SOURCES[args.part]:
        said["licence"] = LICENCE
    try:
        component = _load(args, source)
        save_component(component, Path(args.out), provenance=said)
    except OmnikitError as error:
        print(f"omnikit-speechbrain: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {_described(component)}")
    return 0


def _load(args: argparse.Namespace, source: str) -> Component:
    local = Path(args.checkpoint) if args.checkpoint else None
    if args.part == "ecapa":
        return load_ecapa(local or download(source, CHECKPOINT))
    if args.part == "emotion":
        return pretrained_emotion.load_emotion(local or pretrained_emotion.fetch(source))
    return pretrained_hifigan.load_hifigan(
        local or download(source, pretrained_hifigan.CHECKPOINT),
        codebooks=_numbers(args.codebooks, "--codebooks") if args.codebooks else None,
        ratios=_numbers(args.ratios, "--ratios"),
        vocab_id=args.vocab_id,
    )


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(item) for item in text.split(",")]
    except ValueError as error:
        raise OmnikitError(f"{option} is '{text}'; give whole numbers with commas between them: 5,4,4,2,2.") from error


def _described(component: Any) -> str:
    if isinstance(component, ECAPA):
        return f"style/ecapa, {component.dim} numbers, space {component.space_id}"
    if hasattr(component, "emotions"):
        return f"input_style/emotion_wav2vec2, {', '.join(component.emotions)}"
    return (
        f"detokenizer/unit_hifigan, {' + '.join(map(str, component.sizes))} units in layout {component.layout} to "
        f"{component.sample_rate} Hz, vocabulary {component.vocab_id}"
    )
