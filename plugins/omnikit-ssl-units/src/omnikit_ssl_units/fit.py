"""`omnikit-ssl-units --audio FOLDER --out FOLDER`: k-means units of a speech model, fitted to recordings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import omnikit
from omnikit.artefacts import name_after_weights, save_component
from omnikit.data.media import load_audio, recordings_in
from omnikit.errors import OmnikitError
from omnikit.nn.hf_speech import FAMILIES, NONE, SAMPLE_RATE
from omnikit.types import Audio
from omnikit_ssl_units.ssl_kmeans import SSLKMeans


def fit_codebook(
    model: Mapping[str, Any], recordings: Sequence[Path], *, num_units: int, groups: int, seconds: float, seed: int
) -> SSLKMeans:
    """`tokenizer/ssl_kmeans` with centroids of at most `seconds` of `recordings`, drawn in an order that `seed` says.

    `model` is a group of `HFSpeechSizes`. Raises `OmnikitError` for a model that cannot be had, `MediaError` for a file
    that cannot be read.
    """
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # a model without published weights gets random ones
        torch.manual_seed(seed)
        tokenizer: SSLKMeans = omnikit.create("tokenizer/ssl_kmeans", model=model, num_units=num_units, groups=groups)
    order = torch.randperm(len(recordings), generator=draws).tolist()
    tokenizer.eval().fit_units(_heard([recordings[index] for index in order], seconds), draws)
    name_after_weights(tokenizer, "vocab_id", "ssl-kmeans")
    return tokenizer


def main(argv: Sequence[str] | None = None) -> int:
    """Read, fit, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="omnikit-ssl-units", description=__doc__)
    parser.add_argument("--audio", required=True, metavar="FOLDER", help="recordings, in folders of any depth")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the part goes")
    parser.add_argument("--model", default=NONE, help="a model on the hub, or a folder: facebook/hubert-base-ls960 …")
    parser.add_argument("--family", default=FAMILIES[0], choices=FAMILIES, help="of a random model (--model none)")
    parser.add_argument("--dim", type=int, default=768, help="its width (768 for base models, 1024 for large ones)")
    parser.add_argument("--layer", type=int, default=-1, help="the block whose output is cut into units")
    parser.add_argument("--units", type=int, default=500, help="ids of a codebook")
    parser.add_argument("--groups", type=int, default=1, help="codebooks, each over its part of the width")
    parser.add_argument("--hours", type=float, default=1.0, help="of recordings, at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    model = {"pretrained": args.model, "family": args.family, "dim": args.dim, "layer": args.layer}
    try:
        root = Path(args.audio)
        tokenizer = fit_codebook(
            model,
            [root / name for name in recordings_in(root)],
            num_units=args.units,
            groups=args.groups,
            seconds=3600 * args.hours,
            seed=args.seed,
        )
        said = {"source": args.model, "recordings": str(root), "hours": args.hours, "seed": args.seed}
        save_component(tokenizer, Path(args.out), provenance=said)
    except OmnikitError as error:
        print(f"omnikit-ssl-units: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {args.groups} x {args.units} units at {float(tokenizer.rate):g} Hz, {tokenizer.vocab_id}")
    return 0


def _heard(paths: Sequence[Path], seconds: float) -> Iterator[Audio]:
    """Recordings until their seconds are full; the last one is heard whole."""
    total = 0.0
    for path in paths:
        if total >= seconds:
            return
        audio = load_audio(path, SAMPLE_RATE)
        total += audio.seconds[0]
        yield audio
