"""`omnikit-hf-codecs mimi --out FOLDER`: published weights of Mimi or DAC as trained parts, for use offline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, DacModel, MimiModel

import omnikit
from omnikit.artefacts import name_after_weights, save_component
from omnikit.errors import OmnikitError, WeightsError
from omnikit_hf_codecs import dac, mimi
from omnikit_hf_codecs.detokenizer import CodecDetokenizer
from omnikit_hf_codecs.tokenizer import CodecTokenizer


@dataclass(frozen=True)
class Family:
    """A codec of transformers: where its weights are published and under which terms, and how its sizes are read."""

    source: str
    licence: str
    model: Any
    sizes: Callable[[Any], dict[str, Any]]
    held: str
    """The field of its configuration that counts codebooks."""
    num_codebooks: int


FAMILIES = {
    "mimi": Family("kyutai/mimi", "CC-BY-4.0", MimiModel, mimi.sizes_of, "num_quantizers", 8),
    "dac": Family("descript/dac_16khz", "MIT", DacModel, dac.sizes_of, "n_codebooks", 12),
}


def load_published(
    family: str, source: str, num_codebooks: int | None = None, revision: str = "main"
) -> tuple[CodecTokenizer, CodecDetokenizer]:
    """The two parts of a published model (a repository or a folder), with the first `num_codebooks` (None: all).

    Raises `WeightsError` for what cannot be fetched or is another model, and for codebooks that it has not.
    """
    known = FAMILIES[family]
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
        if config.model_type != family:
            raise WeightsError(f"{source} is a {config.model_type}, no {family}; name another source.")
        model = known.model.from_pretrained(source, revision=revision, dtype=torch.float32)
    except OSError as error:
        raise WeightsError(
            f"{source} cannot be loaded: {str(error).strip().splitlines()[0]}\n"
            "Without a network, give a folder that holds config.json and model.safetensors as --source."
        ) from error
    held = getattr(config, known.held)
    count = held if num_codebooks is None else num_codebooks
    if not 1 <= count <= held:
        raise WeightsError(f"{source} holds {held} codebooks; 1 to {held} can be used, not {count}.")
    tokenizer: CodecTokenizer = omnikit.create(f"tokenizer/{family}", num_codebooks=count, **known.sizes(config))
    _fill(tokenizer.codec, model.state_dict(), source)
    name_after_weights(tokenizer, "vocab_id", family)
    detokenizer: CodecDetokenizer = omnikit.create(f"detokenizer/{family}", **tokenizer.partner())
    _fill(detokenizer.codec, model.state_dict(), source)
    return tokenizer.eval(), detokenizer.eval()


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch (or read), convert, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="omnikit-hf-codecs", description=__doc__)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--out", required=True, metavar="FOLDER", help="gets the parts tokenizer and detokenizer")
    parser.add_argument("--source", help="a repository on the hub, or a folder (default: that of the family)")
    parser.add_argument("--revision", default="main", help="of the repository: a tag or a commit")
    parser.add_argument("--codebooks", type=int, metavar="N", help="the first N of them (default: mimi 8, dac 12)")
    args = parser.parse_args(argv)
    known = FAMILIES[args.family]
    source = args.source or known.source
    said = {"source": source, "revision": args.revision}
    if source == known.source:
        said["licence"] = known.licence
    try:
        count = known.num_codebooks if args.codebooks is None else args.codebooks
        tokenizer, detokenizer = load_published(args.family, source, count, args.revision)
        for slot, part in (("tokenizer", tokenizer), ("detokenizer", detokenizer)):
            save_component(part, Path(args.out) / slot, provenance=said)
    except OmnikitError as error:
        print(f"omnikit-hf-codecs: {error}", file=sys.stderr)
        return 2
    print(
        f"{args.out}: tokenizer/{args.family} and detokenizer/{args.family}, {count} codebooks at "
        f"{float(tokenizer.rate):g} Hz of {tokenizer.codec.sample_rate} Hz audio, vocabulary {tokenizer.vocab_id}"
    )
    return 0


def _fill(codec: nn.Module, stored: Mapping[str, Tensor], source: str) -> None:
    """Copy the tensors that a codec has; codebooks beyond those that are used are left behind."""
    own = codec.state_dict()
    missing = [name for name in own if name not in stored]
    other = [name for name in own if name in stored and own[name].shape != stored[name].shape]
    if missing or other:
        raise WeightsError(
            f"{source} does not fit: {len(missing)} tensors are missing and {len(other)} of another shape, "
            f"{(missing + other)[0]} the first of them."
        )
    codec.load_state_dict({name: stored[name] for name in own})
