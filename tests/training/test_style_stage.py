"""Stage `style` through the command line, on the voice in the box: what learns, in whose space, and what does not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

import omnikit
from omnikit.artefacts import load_component
from omnikit.cli import main

WORDS = [
    "train",
    "experiment=emova_tiny",
    "stage=style",
    "weights=tiny",
    "detokenizer=uvits",  # its sizes are those of the weights
    "stage.settings.seconds=1",
    "stage.settings.batch_size=8",
    "stage.settings.num_valid_batches=1",
    "stage.settings.optim.steps=6",
    "trainer.num_workers=0",
    "trainer.valid_every=3",
    "trainer.log_every=1",
]


@pytest.mark.parametrize("style", ["gmvae", "gmvae_emotion", "text_prompt"])
def test_a_style_module_learns_in_the_space_of_the_voice(
    style: str, small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = [*WORDS, f"style={style}", f"data.path={small_corpus}", f"out={out}"]
    assert main([*words, "--traceback"]) == 0
    rows = list(csv.DictReader((out / "style" / "curves.csv").open()))
    assert {row["name"] for row in rows} >= {"loss", "valid_loss"}
    part = load_component(out / "system" / "style")
    assert part.space_id == omnikit.load("tiny#style").space_id
    assert bool(part.from_labels([{"emotion": "sad"} if "emotion" in part.factors else {}]).vector.isfinite().all())
    capsys.readouterr()
    assert main(words) == 0
    assert "is finished" in capsys.readouterr().out


def test_the_same_command_learns_the_same(small_corpus: Path, tmp_path: Path) -> None:
    parts = []
    for name in ("one", "other"):
        words = [*WORDS, "style=text_prompt", f"data.path={small_corpus}", f"out={tmp_path / name}"]
        assert main(words) == 0
        parts.append(load_component(tmp_path / name / "system" / "style").state_dict())
    for name, value in parts[0].items():
        assert torch.equal(value, parts[1][name]), name


def test_what_has_nothing_to_learn_is_refused(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "style=label_centroid", f"data.path={small_corpus}", f"out={tmp_path / 'run'}"]
    assert main(words) == 2
    assert "omnikit style make" in capsys.readouterr().err


def test_a_system_with_it_speaks_as_described(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main([*WORDS, "style=text_prompt", f"data.path={small_corpus}", f"out={out}"]) == 0
    system = omnikit.load("tiny")
    style = load_component(out / "system" / "style")
    omnikit.System(system.plan, {**dict(system.parts), "style": style}).save(tmp_path / "system")
    capsys.readouterr()
    words = ["say", "the red star is big.", "--system", str(tmp_path / "system"), "--out", str(tmp_path / "x.wav")]
    assert main([*words, "--style-text", "a slow sad man"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["style"]) == set(style.factors)
    assert set(told["style_decided_by"].values()) == {"user"}
    assert main([*words, "--style-text", "qqq zzz"]) == 2
