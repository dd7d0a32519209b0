"""`omnikit-speechbrain --out FOLDER`: published ECAPA-TDNN weights as a trained part of omnikit, for use offline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download

import omnikit
from omnikit.artefacts import fill_from, name_after_weights, save_component
from omnikit.errors import OmnikitError, WeightsError
from omnikit_speechbrain.ecapa import ECAPA

SOURCE = "speechbrain/spkrec-ecapa-voxceleb"
CHECKPOINT = "embedding_model.ckpt"


def download(source: str = SOURCE) -> Path:
    """The checkpoint of the embedding network of a Hugging Face repository. Raises `WeightsError` without a network."""
    try:
        return Path(hf_hub_download(source, CHECKPOINT))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{source}/{CHECKPOINT} cannot be fetched: {str(error).splitlines()[0]}\n"
            "Without a network, give a copy of the file: omnikit-speechbrain --checkpoint FILE --out FOLDER"
        ) from error


def load_checkpoint(path: Path) -> ECAPA:
    """The component of a checkpoint of `ECAPA_TDNN`; its sizes are read off the tensors, nothing in it is executed.

    Raises `WeightsError` for a file that is none, or tensors that do not fit.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"The checkpoint {path} does not exist.") from error
    except Exception as error:  # a broken file may raise nearly anything
        raise WeightsError(f"{path} is no checkpoint of tensors ({type(error).__name__}).") from error
    first, last = "blocks.0.conv.conv.weight", "fc.conv.weight"
    if not isinstance(stored, dict) or first not in stored or last not in stored:
        raise WeightsError(f"{path} is no checkpoint of SpeechBrain's ECAPA_TDNN: it lacks {first} or {last}.")
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
    fill_from(component, {**whole, **{f"network.{name}": value for name, value in stored.items()}}, str(path))
    name_after_weights(component, "space_id", "ecapa")
    return component.eval()


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch (or read), convert, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="omnikit-speechbrain", description=__doc__)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the part goes")
    parser.add_argument("--source", default=SOURCE, help=f"a Hugging Face repository (default: {SOURCE})")
    parser.add_argument("--checkpoint", metavar="FILE", help=f"a local copy of its {CHECKPOINT}; nothing is fetched")
    args = parser.parse_args(argv)
    try:
        path = Path(args.checkpoint) if args.checkpoint else download(args.source)
        component = load_checkpoint(path)
        save_component(component, Path(args.out), provenance={"source": args.checkpoint or args.source})
    except OmnikitError as error:
        print(f"omnikit-speechbrain: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: style/ecapa, {component.dim} numbers, space {component.space_id}")
    return 0
