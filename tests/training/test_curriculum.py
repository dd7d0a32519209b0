"""Curricula: runs in order, their mixtures and names, what they start from, and one whole one by the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training.conftest import SMALL

from omnikit.cli import main
from omnikit.cli.config import compose_config
from omnikit.errors import OmnikitError, UnknownName
from omnikit.training.curriculum import runs_of

CURRICULA = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "curriculum").glob("*.yaml"))


def runs(curriculum: str, *words: str) -> dict[str, dict[str, Any]]:
    """The stage of every run by its name."""
    configs = runs_of(compose_config("train", ["experiment=emova_tiny", f"curriculum={curriculum}", *words]))
    return {config["stage"]["name"]: config["stage"] for config in configs}


@pytest.mark.parametrize("curriculum", CURRICULA)
@pytest.mark.parametrize("recipe", ["tiny", "emova"])
def test_every_curriculum_is_a_row_of_runs(curriculum: str, recipe: str) -> None:
    found = runs(curriculum, f"recipe={recipe}")
    names = list(found)
    for place, stage in enumerate(found.values()):
        assert stage["after"] == ["vision", "tokenizer", *names[:place]]
        assert stage["settings"]["optim"]["steps"] > 0
        assert any(weight > 0 for weight in stage["settings"]["mixture"].values())


def test_the_joint_curriculum_is_the_three_stages() -> None:
    for name, stage in runs("joint").items():
        assert stage == compose_config("train", ["experiment=emova_tiny", f"stage={name}"])["stage"]


@pytest.mark.parametrize("recipe", ["tiny", "emova"])
def test_shares_are_of_the_whole_mixture_and_tasks_keep_their_proportions(recipe: str) -> None:
    found = runs("vision_then_speech", f"recipe={recipe}")
    plain = compose_config("train", ["experiment=emova_tiny", "stage=align", f"recipe={recipe}"])["stage"]["settings"]
    first, second = (found[name]["settings"] for name in ("align_vision", "align_speech"))
    assert first["mixture"]["asr"] == first["mixture"]["tts"] == 0
    assert sum(second["mixture"].values()) == pytest.approx(1)
    assert second["mixture"]["asr"] + second["mixture"]["tts"] == pytest.approx(0.9)
    ratio = plain["mixture"]["caption"] / plain["mixture"]["dialogue"]
    assert second["mixture"]["caption"] / second["mixture"]["dialogue"] == pytest.approx(ratio)
    assert first["optim"]["steps"] + second["optim"]["steps"] == plain["optim"]["steps"]
    assert found["sft"]["settings"] == runs("joint", f"recipe={recipe}")["sft"]["settings"]


def test_stages_are_repeated_skipped_and_changed() -> None:
    words = "curriculum.runs=[{stage: sft}, {stage: sft, settings: {misread: 0.2, optim: {lr: 0.5}}}, {stage: sft}]"
    found = runs("joint", words)
    assert list(found) == ["sft", "sft_2", "sft_3"]
    assert found["sft_2"]["settings"]["misread"] == 0.2 and found["sft_2"]["settings"]["optim"]["lr"] == 0.5
    assert found["sft_3"]["settings"] == found["sft"]["settings"]


@pytest.mark.parametrize(
    ("run", "error", "told"),
    [
        ("{stage: alignn}", UnknownName, "align"),
        ("{stage: align, step: 1}", UnknownName, "steps"),
        ("{stage: align, shares: {sight: 1}}", UnknownName, "vision"),
        ("{stage: prealign, shares: {speech: 1}}", OmnikitError, "none of asr, tts"),
        ("{stage: align, settings: {misred: 1}}", UnknownName, "misread"),
        ("{stage: align, steps: 0}", OmnikitError, "above 0"),
        ("{stage: align}, {stage: sft, name: align}", OmnikitError, "Two runs"),
        ("", OmnikitError, "no runs"),
    ],
)
def test_what_is_no_curriculum(run: str, error: type[OmnikitError], told: str) -> None:
    with pytest.raises(error, match=told):
        runs("joint", f"curriculum.runs=[{run}]")


def test_a_curriculum_goes_on_where_it_stopped_and_leaves_a_whole_system(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from omnikit.system import System

    words = ["train", *SMALL, f"data.path={small_corpus}", "--traceback", "recipe.sft.sources.dialogue=[vqa]"]
    one = "[{stage: align, steps: 0.5, shares: {speech: 1.0}}]"
    assert main([*words, f"out={tmp_path / 'ears'}", "stage=tokenizer", "recipe.tokenizer.optim.steps=1"]) == 0
    given = f"weights={tmp_path / 'ears' / 'system'}"
    command = [*words, given, f"out={tmp_path / 'mind'}", "curriculum=speech_only"]
    assert main([*command, f"curriculum.runs={one}"]) == 0
    before = (tmp_path / "mind" / "align" / "curves.csv").read_bytes()
    capsys.readouterr()
    assert main([*command, f"curriculum.runs={one[:-1]}, {{stage: sft, steps: 0.5}}]"]) == 0
    assert "align is finished" in capsys.readouterr().out
    assert (tmp_path / "mind" / "align" / "curves.csv").read_bytes() == before
    system = System.load(tmp_path / "mind" / "system")
    assert {"tokenizer", "backbone", "projector", "format"} <= set(system.parts)
    # the mind of `weights` is not where a curriculum starts
    again = [*words, f"weights={tmp_path / 'mind' / 'system'}", f"out={tmp_path / 'other'}", "curriculum=speech_only"]
    assert main([*again, f"curriculum.runs={one}"]) == 0
    first, second = ((tmp_path / name / "align" / "curves.csv").read_text().splitlines() for name in ("mind", "other"))
    assert [row.split(",")[3] for row in first] == [row.split(",")[3] for row in second]
