"""Two processes that share every batch train what one process trains: the same losses, the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training.processes import two_processes
from training.test_pretraining import curve, weights_of, words

from omnikit.cli import main
from omnikit.data.speech_batches import SpeechBatches, audio_items, within
from omnikit.training.extract import records_of

STAGES = ("tokenizer_pretrain", "tokenizer")
UNEVEN = ("recipe.tokenizer_pretrain.batch_s=5", "recipe.tokenizer.batch_s=5", "stage.half=false", "seed=2")
"""Batches of one to three recordings: shares of different size, also empty ones."""
RUN = """
import sys
from omnikit.cli import main
for command in sys.argv[1].split(";"):
    if main(command.split()):
        sys.exit(1)
"""


def commands(corpus: Path, out: Path, *more: str) -> list[list[str]]:
    return [words(stage, corpus, out, *UNEVEN, *more) for stage in STAGES]


@pytest.fixture(scope="module")
def folders(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one, two = (tmp_path_factory.mktemp("processes") / name for name in ("one", "two"))
    shared = commands(small_corpus, two, "trainer.accelerator=cpu", "trainer.devices=2")
    told = ";".join(" ".join(command) for command in shared)
    with two_processes(RUN, told) as started:
        for command in commands(small_corpus, one, "trainer.accelerator=cpu", "trainer.devices=1"):
            assert main(command) == 0
        for process in started:
            said, _ = process.communicate(timeout=240)
            assert process.returncode == 0, said
    return one, two


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_learn_what_one_learns(folders: tuple[Path, Path], stage: str) -> None:
    one, two = (folder / stage for folder in folders)
    names = ["loss", *(["accuracy", "valid_loss"] if stage == "tokenizer_pretrain" else ["ctc", "valid_per"])]
    for name in names:
        alone, shared = (torch.tensor([float(value) for value in curve(folder, name)]) for folder in (one, two))
        assert len(alone)
        torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-6, msg=lambda told, name=name: f"{name}: {told}")
    trained = weights_of(two)
    for name, value in weights_of(one).items():
        torch.testing.assert_close(trained[name], value, rtol=1e-3, atol=2e-6, msg=name)


def test_shares_are_uneven_and_one_is_empty(small_corpus: Path) -> None:
    files = ("speech.train", "voice.train", "dialogue.train")
    items = within(audio_items(records_of(small_corpus, *files)), min_s=1.0)
    batches = SpeechBatches(small_corpus, items, batch_s=5, num_batches=4, seed=2)
    sizes = {len(batches.plan.batch(step)) for step in range(4)}
    assert 1 in sizes and max(sizes) > 1
