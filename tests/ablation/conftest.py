"""A question whose cells train a tokenizer of a few thousand numbers for two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from omnikit.ablation.plan import Cell, Plan, PlannedArm, Step
from omnikit.ablation.question import Question
from omnikit.data.corpus import make_corpus

QUESTION: dict[str, Any] = {
    "name": "small",
    "question": "Does it run?",
    "kind": "one_at_a_time",
    "base": [
        "experiment=emova_tiny",
        "tokenizer.num_mels=32",
        "tokenizer.widths=[16,24,32,24]",
        "tokenizer.layers=[1,1]",
        "tokenizer.heads=[2,2]",
        "tokenizer.position=[4,4]",
        "tokenizer.decoder_dim=16",
        "trainer.precision=32-true",
        "trainer.num_workers=0",
        "trainer.log_every=1",
        "recipe.tokenizer.batch_s=8",
        "recipe.tokenizer.num_valid=3",
    ],
    "baseline": "fsq",
    "arms": {
        "fsq": [],
        "coarse": ["tokenizer.levels=[4,4,4,4]"],
        "misfit": ["detokenizer.layout=reduced"],
        "failing": ["recipe.tokenizer.phones=klingon"],
    },
    "seeds": [0],
    "primary": "tokenizer.phone_error_rate_unseen_voices",
    "judges": ["tokenizer"],
    "stages": ["tokenizer"],
}


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "small"
    make_corpus(folder, hours=0.01, seed=3, processes=1)
    return folder


@pytest.fixture(scope="session")
def question_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "small.yaml"
    path.write_text(yaml.safe_dump(QUESTION, sort_keys=False))
    return path


@pytest.fixture
def words(question_file: Path, small_corpus: Path, tmp_path: Path) -> list[str]:
    """The command line of the study, one cell after another, into a folder of the test's own."""
    budget = ["budget=tiny", "budget.steps.tokenizer=2", "budget.num_items=2", "launcher.jobs=1"]
    return ["ablate", "--file", str(question_file), *budget, f"data.path={small_corpus}", f"out={tmp_path / 'sweep'}"]


def stage(name: str, trains: list[str], requires: list[str] | None = None, uses: list[str] | None = None) -> Any:
    """A stage's config with the settings that plans look at."""
    return {
        "name": name,
        "objective": name if name in ("tokenizer", "detokenizer") else "language",
        "trains": trains,
        "requires": requires or [],
        "uses": uses or [],
        "settings": {"optim": {"steps": 100, "warmup_steps": 10}, "batch_s": 4.0},
    }


def plan_of_cells(num: int, shared: bool = False) -> Plan:
    """A plan of `num` cells that train one step each, the same one where `shared`."""
    names = [f"arm{number}" for number in range(num)]
    question = Question.read({**QUESTION, "arms": {name: [] for name in names}, "baseline": "arm0"})
    cells = []
    for number, name in enumerate(names):
        config = {"stage": stage("tokenizer", ["tokenizer"]), "tokenizer": {"component": "tokenizer/spiral_fsq"}}
        step = Step("same" if shared else f"key{number}", "tokenizer", config, {})
        source = {"tokenizer": {"step": step.key, "stage": "tokenizer"}}
        evaluation = {"tokenizer": {"component": "tokenizer/spiral_fsq"}, "weights": None}
        cells.append(Cell(f"cell{number}", name, 0, (step,), evaluation, source))
    return Plan(question, "tiny", tuple(PlannedArm(arm, None) for arm in question.arms), tuple(cells))
