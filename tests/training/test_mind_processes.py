"""Two processes that share every batch teach the language model what one process does, replicated and sharded.

Both read their share of `sft` in pieces; the one process reads it at once.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training.conftest import SMALL
from training.processes import two_processes
from training.test_pretraining import curve

from omnikit.artefacts import read_weights
from omnikit.cli import main

STAGES = ("prealign", "sft")
STRATEGIES = ("ddp", "fsdp2")
STOPPED = "stopped"
RUN = """
import sys
from omnikit.cli import main
from omnikit.training import runner
from omnikit.training.progress import Saver

build, fill = runner._build, runner.fill

def building(*args, **options):
    parts = build(*args, **options)
    held = sum(weight.numel() for weight in parts["backbone"].parameters() if not weight.is_meta)
    print("holds", held, flush=True)
    return parts

def filling(part, folder):
    print("reads", folder, flush=True)
    fill(part, folder)

runner._build, runner.fill = building, filling

class Stopped(Exception):
    pass

def stop(self, trainer, module, outputs, batch, index):
    if index == 1:
        self.save(trainer)
        raise Stopped

whole = Saver.on_train_batch_end
for command in sys.argv[1].split(";"):
    words = command.split()
    print("runs", *words, flush=True)
    if "/stopped" in command:
        Saver.on_train_batch_end = stop
        try:
            main([*words, "--traceback"])
        except Stopped:
            print("stopped")
        Saver.on_train_batch_end = whole
    if main([*words, "--traceback"]):
        sys.exit(1)
"""
MIND = (
    *(f"recipe.{stage}.{setting}" for stage in STAGES for setting in ("batch_tokens=500", "optim.steps=3")),
    "backbone.layers=2",
    "stage.half=false",
    *(f"recipe.{stage}.misread=0" for stage in STAGES),  # what is misread is a function of the process, too
    "seed=4",
)


def words(stage: str, corpus: Path, out: Path, tokenizer: Path, *more: str) -> list[str]:
    given = [f"stage={stage}", f"data.path={corpus}", f"out={out}", f"tokenizer.weights={tokenizer}"]
    return ["train", *SMALL, *MIND, *given, "trainer.accelerator=cpu", *more]


@pytest.fixture(scope="module")
def folders(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("mind")
    few = ("stage=tokenizer", f"data.path={small_corpus}", f"out={made / 'base'}", "recipe.tokenizer.optim.steps=1")
    assert main(["train", *SMALL, *few, "trainer.accelerator=cpu"]) == 0
    tokenizer = made / "base" / "tokenizer" / "parts" / "tokenizer"
    for stage in STAGES:
        assert main(words(stage, small_corpus, made / "one", tokenizer, "trainer.devices=1")) == 0
    settings = {
        "ddp": ["trainer.strategy=ddp"],
        "fsdp2": ["trainer.strategy=fsdp2", "trainer.activation_checkpointing=true"],
    }
    settings[STOPPED] = [*settings["fsdp2"], f"weights={made / 'fsdp2' / 'prealign' / 'parts'}"]
    runs = [(name, stage) for name in STRATEGIES for stage in STAGES]
    pieces = {"prealign": (), "sft": ("trainer.micro_tokens=150",)}
    told = ";".join(
        " ".join(
            words(stage, small_corpus, made / name, tokenizer, "trainer.devices=2", *settings[name], *pieces[stage])
        )
        for name, stage in [*runs, (STOPPED, "sft")]
    )
    with two_processes(RUN, told) as started:
        for rank, process in enumerate(started):
            said, _ = process.communicate(timeout=1200)
            assert process.returncode == 0, said
            (made / f"said{rank}.txt").write_text(said)
    return {name: made / name for name in ("one", *STRATEGIES, STOPPED, "said0.txt", "said1.txt")}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_learn_what_one_learns(folders: dict[str, Path], strategy: str, stage: str) -> None:
    one, two = (folders[name] / stage for name in ("one", strategy))
    tasks = {"prealign": ["caption", "dialogue"], "sft": ["asr", "dialogue", "tts"]}[stage]
    for name in ["loss", "valid_loss", *tasks]:
        alone, shared = (torch.tensor([float(value) for value in curve(folder, name)]) for folder in (one, two))
        assert len(alone)
        torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-6, msg=lambda told, name=name: f"{name}: {told}")
    for slot in ("projector", "backbone"):
        trained, expected = (read_weights(folder / "parts" / slot) for folder in (two, one))
        assert set(trained) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(trained[name], value, rtol=1e-3, atol=2e-5, msg=f"{slot}.{name}")


def test_a_sharded_run_that_was_interrupted_goes_on_as_if_nothing_had_happened(folders: dict[str, Path]) -> None:
    whole, resumed = (folders[name] / "sft" for name in ("fsdp2", STOPPED))
    assert json.loads((resumed / "cost.json").read_text())["steps"] == 1  # of three: it stopped after two
    assert curve(resumed, "loss") == curve(whole, "loss")
    for slot in ("projector", "backbone"):
        trained, expected = (read_weights(folder / "parts" / slot) for folder in (resumed, whole))
        for name, value in expected.items():
            torch.testing.assert_close(trained[name], value, rtol=0, atol=0, msg=f"{slot}.{name}")


def test_only_the_first_process_of_a_sharded_run_reads_the_language_model(folders: dict[str, Path]) -> None:
    said = [folders[f"said{rank}.txt"].read_text().split("\nruns ") for rank in range(2)]
    for first, second in zip(*said, strict=True):
        if "/parts/backbone" not in first and "holds" not in first:
            continue
        sharded = "strategy=fsdp2" in first
        held = [next(line for line in own.splitlines() if line.startswith("holds")) for own in (first, second)]
        assert held[0] != "holds 0" and held[1] == ("holds 0" if sharded else held[0])
        read = [sorted(line for line in own.splitlines() if line.startswith("reads")) for own in (first, second)]
        assert read[1] == [line for line in read[0] if not (sharded and line.endswith("/backbone"))]
    assert sum("reads" in own and "/backbone" in own for own in said[0]) == 3
