"""`omnikit-encodec --out FOLDER`: Meta's weights of the 24 kHz EnCodec as trained parts of omnikit, for use offline."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from encodec.model import ROOT_URL
from torch import Tensor, nn

import omnikit
from omnikit.artefacts import name_after_weights, save_component
from omnikit.errors import OmnikitError, WeightsError
from omnikit_encodec.detokenizer import EncodecDetokenizer
from omnikit_encodec.networks import SAMPLE_RATE, rate_of
from omnikit_encodec.tokenizer import EncodecTokenizer

CHECKPOINT = "encodec_24khz-d7cc33bc.th"
"""Its name ends in the beginning of its sha256, which a download is held against."""
LICENCE = "CC-BY-NC-4.0"
_CODEBOOK = "quantizer.vq.layers.{}._codebook.embed"


def download(folder: Path) -> Path:
    """Fetch the published checkpoint into `folder`. Raises `WeightsError` without a network, or for other bytes."""
    target = folder / CHECKPOINT
    try:
        torch.hub.download_url_to_file(
            ROOT_URL + CHECKPOINT, str(target), hash_prefix=target.stem.split("-")[1], progress=sys.stderr.isatty()
        )
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{ROOT_URL}{CHECKPOINT} cannot be fetched: {error}\n"
            "Without a network, give a copy of the file: omnikit-encodec --checkpoint FILE --out FOLDER"
        ) from error
    return target


def load_checkpoint(path: Path, num_codebooks: int | None = 8) -> tuple[EncodecTokenizer, EncodecDetokenizer]:
    """The two parts of a checkpoint of a causal `EncodecModel`, with its first `num_codebooks` (None: all).

    Sizes are read off the tensors, nothing in the file is executed. Raises `WeightsError` for a file that is none, has
    fewer codebooks, or whose tensors do not fit.
    """
    stored = _read(path)
    held = 0
    while _CODEBOOK.format(held) in stored:
        held += 1
    count = held if num_codebooks is None else num_codebooks
    if not 1 <= count <= held:
        raise WeightsError(f"{path} holds {held} codebooks; 1 to {held} can be used, not {count}.")
    sizes: dict[str, Any] = {
        "dim": stored[_CODEBOOK.format(0)].shape[1],
        "num_filters": stored["encoder.model.0.conv.conv.weight_g"].shape[0],
        "ratios": _ratios(stored),
    }
    size = stored[_CODEBOOK.format(0)].shape[0]
    tokenizer: EncodecTokenizer = omnikit.create("tokenizer/encodec", num_codebooks=count, codebook_size=size, **sizes)
    _fill(tokenizer, stored, ("encoder", "quantizer", "decoder"), path)
    vocab_id = name_after_weights(tokenizer, "vocab_id", "encodec")
    detokenizer: EncodecDetokenizer = omnikit.create(
        "detokenizer/encodec", codebooks=[size] * count, vocab_id=vocab_id, **sizes
    )
    _fill(detokenizer, stored, ("quantizer", "decoder"), path)
    return tokenizer.eval(), detokenizer.eval()


def codebooks_at(kbits: float, ratios: Sequence[int] = (8, 5, 4, 2), codebook_size: int = 1024) -> int:
    """The codebooks that `kbits` kbit/s have room for, 1 at least: 6 kbit/s are 8 of 1024 ids at 75 Hz."""
    bits = (codebook_size - 1).bit_length()
    return max(1, int(1000 * kbits / (bits * rate_of(ratios))))


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch (or read), convert, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="omnikit-encodec", description=__doc__)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="gets the parts tokenizer and detokenizer")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--codebooks", type=int, metavar="N", help="1 to 32 (default: 8, which are 6 kbit/s)")
    amount.add_argument("--bandwidth", type=float, metavar="KBITS", help="the same in kbit/s: 1.5, 3, 6, 12 or 24")
    parser.add_argument("--checkpoint", metavar="FILE", help=f"a local copy of {CHECKPOINT}; nothing is fetched")
    args = parser.parse_args(argv)
    count = codebooks_at(args.bandwidth) if args.bandwidth else 8 if args.codebooks is None else args.codebooks
    said = {"source": args.checkpoint or ROOT_URL + CHECKPOINT, "licence": LICENCE}
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(args.checkpoint) if args.checkpoint else download(Path(folder))
            tokenizer, detokenizer = load_checkpoint(path, count)
        for slot, part in (("tokenizer", tokenizer), ("detokenizer", detokenizer)):
            save_component(part, Path(args.out) / slot, provenance=said)
    except OmnikitError as error:
        print(f"omnikit-encodec: {error}", file=sys.stderr)
        return 2
    print(
        f"{args.out}: tokenizer/encodec and detokenizer/encodec, {count} codebooks at {float(tokenizer.rate):g} Hz "
        f"of {SAMPLE_RATE} Hz audio, vocabulary {tokenizer.vocab_id}; the published weights are {LICENCE}"
    )
    return 0


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"The checkpoint {path} does not exist.") from error
    except Exception as error:  # a broken file may raise nearly anything
        raise WeightsError(f"{path} is no checkpoint of tensors ({type(error).__name__}).") from error
    needed = ("encoder.model.0.conv.conv.weight_g", _CODEBOOK.format(0))
    if not isinstance(stored, dict) or any(name not in stored for name in needed):
        raise WeightsError(
            f"{path} is no checkpoint of EnCodec with normalised weights: it lacks {' or '.join(needed)}."
        )
    return stored


def _ratios(stored: Mapping[str, Tensor]) -> list[int]:
    """The strides of the decoder: half the kernels of its transposed convolutions, in order."""
    ending = ".convtr.convtr.weight_v"
    names = [name for name in stored if name.startswith("decoder.model.") and name.endswith(ending)]
    ordered = sorted(names, key=lambda name: int(name.split(".")[2]))
    return [stored[name].shape[-1] // 2 for name in ordered]


def _fill(component: nn.Module, stored: Mapping[str, Tensor], parts: Sequence[str], path: Path) -> None:
    """Copy tensors into networks, whose hooks know the names that normalised weights once had."""
    for name in parts:
        part = component.get_submodule(name)
        own = {key.removeprefix(f"{name}."): value for key, value in stored.items() if key.startswith(f"{name}.")}
        if name == "quantizer":  # the codebooks beyond those that are used are left behind
            kept = part.state_dict()
            own = {key: value for key, value in own.items() if key in kept}
        try:
            part.load_state_dict(own)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise WeightsError(f"{path} does not fit EnCodec's {name}: {reason}") from error
