"""The shipped configs: every variant composes, every experiment negotiates, and none reaches into a component."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from omnikit.cli.config import compose_config
from omnikit.contracts import contract_of
from omnikit.registry import SEATS, SLOTS, resolve
from omnikit.training.choices import plan_of
from omnikit.training.jobs import JOBS

CONF = Path(__file__).parents[2] / "conf"
VARIANTS = [(slot, path.stem) for slot in SLOTS for path in sorted((CONF / slot).glob("*.yaml"))]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
STAGES = sorted(path.stem for path in (CONF / "stage").glob("*.yaml"))


@pytest.mark.parametrize(("slot", "variant"), VARIANTS)
def test_every_variant_composes_to_parameters_of_its_component(slot: str, variant: str) -> None:
    node = compose_config("train", [f"{slot}={variant}"])[slot]
    cls = resolve(node["component"])
    parameters = {name: value for name, value in node.items() if name not in ("component", "weights")}
    assert contract_of(cls, parameters)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_negotiates(experiment: str) -> None:
    plan, _ = plan_of(compose_config("train", [f"experiment={experiment}"]))
    assert plan.links


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_choose_components_and_never_set_their_parameters(experiment: str) -> None:
    content = yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())
    reached = sorted(set(content) & set(SLOTS))
    assert not reached, f"{experiment} sets parameters of {reached}; put them into a variant in conf/<slot>/"


def test_without_an_experiment_the_published_system_stands() -> None:
    plan, _ = plan_of(compose_config("train", []))
    assert plan.contracts["tokenizer"].gives["units"].layout == "reduced"


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_names_an_objective_and_trains_real_slots(stage: str) -> None:
    config = compose_config("train", ["experiment=emova_tiny", f"stage={stage}"])["stage"]
    assert config["name"] == stage
    assert config["objective"] in JOBS
    assert set(config["trains"]) | set(config["requires"]) | set(config["uses"]) <= {*SLOTS, *SEATS}
    assert config["settings"]["optim"]["steps"] > 0
