"""Every axis of the tokenizer trains through the real command, from its variant file alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import omnikit
from omnikit.cli import main
from omnikit.data.media import load_audio

SMALL = [
    "experiment=emova_tiny",
    "stage=tokenizer",
    "trainer.precision=32-true",
    "trainer.num_workers=0",
    "trainer.valid_every=2",
    "trainer.log_every=1",
    "recipe.tokenizer.optim.steps=2",
    "recipe.tokenizer.batch_s=6",
    "recipe.tokenizer.num_valid=2",
    "tokenizer.spiral.num_mels=32",
    "tokenizer.spiral.widths=[16,24,32,24]",
    "tokenizer.spiral.layers=[1,1]",
    "tokenizer.spiral.heads=[2,2]",
    "tokenizer.spiral.position=[4,4]",
    "tokenizer.heads.dim=16",
    "tokenizer.vq.num_units=64",
    "tokenizer.continuous.num_units=64",
    "tokenizer.hf.dim=32",
    "tokenizer.hf.layers=1",
    "tokenizer.hf.conv_dim=16",
]
AXES = {
    "spiral_vq_tiny": ("valid_per", "commitment"),
    "spiral_none_tiny": ("valid_per", "ctc"),
    "spiral_mel_tiny": ("valid_loss", "mel"),
    "spiral_phone_mel_tiny": ("valid_per", "mel"),
    "spiral_char_tiny": ("valid_cer", "ctc"),
    "spiral_fsq_3x8_tiny": ("valid_per", "ctc"),
    "hubert_fsq_tiny": ("valid_per", "ctc"),
}


@pytest.mark.parametrize("variant", AXES)
def test_an_axis_trains_from_its_variant(variant: str, small_corpus: Path, tmp_path: Path) -> None:
    words = [*SMALL, f"tokenizer={variant}", f"data.path={small_corpus}", f"out={tmp_path}"]
    assert main(["train", *words, "--traceback"]) == 0
    rows = list(csv.DictReader((tmp_path / "tokenizer" / "curves.csv").open()))
    assert {row["name"] for row in rows} >= {"loss", *AXES[variant]}
    tokenizer = omnikit.load(f"{tmp_path / 'system'}#tokenizer")
    assert tokenizer.vocab_id.startswith("tokenizer-")
    record = json.loads((small_corpus / "speech.test.jsonl").read_text().splitlines()[0])
    heard = load_audio(small_corpus / record["messages"][0]["audio"]["path"], 16_000)
    units = tokenizer.encode(heard)
    assert units.vocab_id == tokenizer.vocab_id and int(units.lengths[0]) > 5
    assert tokenizer.embed(units).features.isfinite().all()
    if tokenizer.is_fitted_afterwards:
        assert bool(tokenizer.quantizer.is_fitted), "the control's units were not fitted after training"
