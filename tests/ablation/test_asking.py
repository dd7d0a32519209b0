"""`omnikit why`, `omnikit diff`, `omnikit repeat`: where a value comes from, in what runs differ, the same again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ablation.conftest import QUESTION

from omnikit.ablation.compare import MISSING, differences, unlike, unlike_scores
from omnikit.cli import main
from omnikit.cli.origins import history
from omnikit.errors import OmnikitError


def places(key: str, *overrides: str) -> list[tuple[str, object]]:
    return [(origin.where, origin.value) for origin in history(key, overrides).origins]


def test_why_names_default_file_and_override_in_order() -> None:
    found = places("tokenizer.num_mels", "experiment=emova_tiny", "tokenizer.num_mels=32")
    assert found == [
        ("default of tokenizer/spiral_fsq's constructor", 128),
        ("conf/tokenizer/spiral_fsq_tiny.yaml", 80),
        ("override tokenizer.num_mels=32", 32),
    ]


def test_why_follows_what_a_file_takes_from_elsewhere() -> None:
    found = places("stage.settings.optim.steps", "experiment=emova_tiny", "stage=sft", "recipe.sft.optim.steps=9")
    assert found[-2:] == [
        ("override recipe.sft.optim.steps=9", 9),
        ("conf/stage/sft.yaml (chosen by stage=sft) takes it from recipe.sft.optim.steps", 9),
    ]


def test_why_names_the_contract_and_the_trained_part() -> None:
    assert places("projector.in_dim", "experiment=emova_tiny")[-1] == (
        "contract: derived from vision_encoder.frames.dim",
        128,
    )
    where, value = places("detokenizer.vocab_id", "experiment=emova_tiny", "weights=tiny")[-1]
    assert where.startswith("trained part ") and str(value).startswith("tokenizer-")


def test_why_says_who_chose_a_component(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "tokenizer.component", "experiment=emova_tiny", "tokenizer=spiral_vq_tiny"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("tokenizer.component = tokenizer/bottleneck\n")
    assert "override tokenizer=spiral_vq_tiny" in told
    assert "conf/experiment/emova_tiny.yaml chooses: tokenizer/spiral_fsq_tiny" in told


def test_an_unknown_key_is_answered_by_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "tokenizer.levls", "experiment=emova_tiny"]) == 2
    assert "Did you mean 'levels'?" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that trained for two steps."""
    out = tmp_path_factory.mktemp("run")
    words = [*QUESTION["base"], "recipe.tokenizer.optim.steps=2", f"data.path={small_corpus}", f"out={out}"]
    assert main(["train", *words, "stage=tokenizer"]) == 0
    return out / "tokenizer"


def test_a_run_repeated_gives_the_same_numbers(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repeat", str(trained), "--out", str(tmp_path / "again")]) == 0
    assert "the same: " in capsys.readouterr().out
    again = tmp_path / "again" / "tokenizer"
    assert differences(trained, again)["results"] == {}
    curves = (again / "curves.csv").read_text()
    (again / "curves.csv").write_text(curves.replace(",loss,", ",loss,1"))
    assert "curves differ in 2 of" in unlike(trained, again)[0]
    assert main(["repeat", str(trained), "--out", str(tmp_path / "again")]) == 2


def test_a_run_of_other_settings_is_not_repeated_as_if_it_were_the_same(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "tokenizer")
    config = (tmp_path / "tokenizer" / "config.yaml").read_text()
    (tmp_path / "tokenizer" / "config.yaml").write_text(config.replace("seed: 0", "seed: 1"))
    assert main(["repeat", str(tmp_path / "tokenizer")]) == 2
    assert "cannot be repeated" in capsys.readouterr().err
    assert main(["diff", str(trained), str(tmp_path / "tokenizer"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "config": {"seed": [0, 1]},
        "environment": {},
        "results": {},
        "cost": {},
    }


def test_no_run_and_other_scores_are_told(tmp_path: Path) -> None:
    with pytest.raises(OmnikitError, match="holds no run"):
        differences(tmp_path, tmp_path)
    one = [{"metric": "a", "value": 1.0}, {"metric": "b", "value": 2.0}]
    assert unlike_scores(one, one) == []
    assert unlike_scores(one, one[:1]) == [f"b: 2.0, {MISSING}"]
