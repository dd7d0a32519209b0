"""A corpus of a minute and a system of a few thousand parameters, to train for a handful of steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnikit.data.corpus import make_corpus

SMALL = [
    "experiment=emova_tiny",
    "tokenizer.num_mels=32",
    "tokenizer.widths=[16,24,32,24]",
    "tokenizer.layers=[1,1]",
    "tokenizer.heads=[2,2]",
    "tokenizer.position=[4,4]",
    "tokenizer.decoder_dim=16",
    "vision_encoder.dim=32",
    "vision_encoder.depth=1",
    "backbone.hidden=32",
    "backbone.layers=1",
    "backbone.heads=2",
    "backbone.kv_heads=1",
    "backbone.intermediate=32",
    "detokenizer.unit_encoder.hidden_dim=16",
    "detokenizer.unit_encoder.filter_dim=16",
    "detokenizer.unit_encoder.num_layers=1",
    "detokenizer.latent.dim=16",
    "detokenizer.latent.hidden_dim=16",
    "detokenizer.latent.posterior_layers=1",
    "detokenizer.latent.flow_layers=1",
    "detokenizer.latent.num_flows=1",
    "detokenizer.duration.filter_dim=16",
    "detokenizer.reference.hidden_dim=16",
    "detokenizer.istft.hidden_dim=16",
    "detokenizer.istft.ffn_dim=16",
    "detokenizer.istft.num_layers=1",
    "style.dim=16",
    "trainer.precision=32-true",
    "trainer.num_workers=0",
    "trainer.valid_every=3",
    "trainer.log_every=1",
    "recipe.tokenizer.optim.steps=4",
    "recipe.tokenizer.batch_s=8",
    "recipe.tokenizer.num_valid=3",
    "recipe.detokenizer.optim.steps=4",
    "recipe.detokenizer.batch_s=6",
    "recipe.detokenizer.num_valid_batches=1",
    "recipe.detokenizer.adversary.start=2",
    "recipe.vision.optim.steps=4",
    "recipe.vision.batch_size=4",
    "recipe.vision.num_valid_batches=1",
    *(
        f"recipe.{stage}.{setting}"
        for stage in ("prealign", "align", "sft")
        for setting in ("optim.steps=4", "batch_tokens=900", "num_valid_batches=1", "text_vocab=300")
    ),
]
STAGES = ("tokenizer", "detokenizer", "vision", "prealign", "align", "sft")


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "small"
    make_corpus(folder, hours=0.01, seed=3, processes=1)
    return folder
