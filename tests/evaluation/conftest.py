"""A very small corpus and a very small system with random weights, made once for the folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from omnikit.data.corpus import make_corpus
from omnikit.system import System
from omnikit.wiring import Node

NODES = {
    "vision_encoder": Node("vision_encoder/timm", {"dim": 16, "depth": 1, "heads": 2}),
    "projector": Node("projector/mlp", {}),
    "speech_encoder": Node("speech_encoder/none", {}),
    "tokenizer": Node(
        "tokenizer/spiral_fsq",
        {
            "num_mels": 16,
            "reduced": False,
            "widths": [16, 16, 16, 16],
            "layers": [1, 1],
            "heads": [2, 2],
            "position": [4, 2],
            "num_phones": 42,
            "decoder_dim": 16,
            "vocab_id": "random",
        },
    ),
    "backbone": Node("backbone/hf_causal", {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 32}),
    "style": Node("style/label_centroid", {"dim": 8, "space_id": "random"}),
    "detokenizer": Node(
        "detokenizer/uvits",
        {
            "layout": "frame",
            "sample_rate": 16_000,
            "head": "istft",
            "spectrogram": {"fft_size": 512, "hop_size": 128, "num_mels": 20, "max_hz": 8000.0},
            "unit_encoder": {"symbol_offset": 0, "hidden_dim": 16, "filter_dim": 16, "num_layers": 1},
            "latent": {"dim": 8, "hidden_dim": 8, "posterior_layers": 1, "flow_layers": 1, "num_flows": 1},
            "duration": {"filter_dim": 8},
            "reference": {"hidden_dim": 8},
            "istft": {"hidden_dim": 16, "ffn_dim": 16, "num_layers": 1},
        },
    ),
    "format": Node("format/json", {}),
}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "small", 0.02, 3, processes=1).folder


@pytest.fixture(scope="session")
def larger_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred utterances to learn from, so that probes have voices and labels on either side."""
    return make_corpus(tmp_path_factory.mktemp("corpus") / "larger", 0.2, 3, processes=1).folder


@pytest.fixture(scope="session")
def random_system() -> System:
    """Weights are drawn under a forked generator, so that the global one is left alone.

    They never write the end; a few tokens are enough to judge that nothing is right.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = System.assemble(NODES)
    with torch.no_grad():  # large enough that what is written depends on what is read
        for weights in system.part("backbone").parameters():
            if weights.ndim > 1:
                weights.mul_(10.0)
    system.part("style").centroids.normal_(generator=torch.Generator().manual_seed(0))
    system.max_new_tokens = 12
    return system
