"""The questions that ship: each can be asked, its arms fit, and it trains what a swap makes necessary and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

import omnikit.conf
from omnikit.ablation.forecast import forecast
from omnikit.cli.ablate import plan_study, study_config

QUESTIONS = sorted(path.stem for path in Path(omnikit.conf.__path__[0], "ablation").glob("*.yaml"))
STAGES = {
    "tokenizer_swap": {"tokenizer"},
    "bottleneck_supervision": {"tokenizer"},
    "detokenizer_swap": {"detokenizer"},
    "detokenizer_style": {"detokenizer"},
    "prealignment": {"prealign", "sft"},
    "style_module": {"style"},
    "output_format": {"sft"},
    "curricula": {"prealign", "align", "align_vision", "align_speech", "sft"},
    "run_length": {"tokenizer", "detokenizer"},
    "cascade": set(),
    "input_style": {"input_style", "sft"},
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_shipped_question_can_be_asked(name: str, small_corpus: Path, tmp_path: Path) -> None:
    config, cells = study_config([f"ablation={name}", "budget=tiny", "seeds=1", f"data.path={small_corpus}"], None)
    plan = plan_study(config, cells)
    assert {own.arm.name: own.pruned for own in plan.arms if own.pruned} == {}
    assert len({cell.id for cell in plan.cells}) == len(plan.arms)
    assert {step.stage for step in plan.steps().values()} == STAGES[name]
    judges = plan.question.judges
    assert any(plan.question.primary.startswith(f"{judge.replace(' ', '_')}.") for judge in judges)
    for cell in plan.cells:
        assert {"tokenizer"} <= set(cell.sources), "everything that is judged comes from somewhere"
    told = forecast(plan, tmp_path).text().splitlines()
    assert told[0] == plan.question.question and told[-2].endswith(f"{len(plan.cells)} evaluations")
    rows = [line.split() for line in told[2:-2]]
    assert [row[:2] for row in rows] == [["run", cell.arm] for cell in plan.cells]


def test_what_only_judging_changes_is_trained_by_nobody_and_known_apart(small_corpus: Path) -> None:
    config, cells = study_config(["ablation=cascade", "budget=tiny", "seeds=3", f"data.path={small_corpus}"], None)
    plan = plan_study(config, cells)
    assert [(cell.arm, cell.evaluation["answers"]) for cell in plan.cells] == [
        ("end_to_end", "end_to_end"),
        ("cascade", "cascade"),
    ], "one run an arm, whatever the seeds"
    assert plan.steps() == {} and len({cell.id for cell in plan.cells}) == 2


def test_an_arm_that_is_trained_as_another_shares_its_steps_and_is_judged_by_its_own_parts(small_corpus: Path) -> None:
    words = ["ablation=detokenizer_style", "budget=tiny", "seeds=1", f"data.path={small_corpus}"]
    plan = plan_study(*study_config(words, None))
    cells = {cell.arm: cell for cell in plan.cells}
    assert len(plan.steps()) == 4 and len({cell.id for cell in plan.cells}) == 6
    labels, shown = cells["flow_matching_labels"], cells["flow_matching_recordings"]
    assert [step.key for step in shown.steps] == [step.key for step in labels.steps]
    assert shown.evaluation["style"]["component"] == "style/reference" and "style" not in shown.sources
    assert labels.sources["style"] == labels.sources["detokenizer"] == shown.sources["detokenizer"]
    assert labels.steps[0].config["stage"]["settings"]["batch_s"] == 12, "what the budget says of every cell"


def test_a_slot_that_continues_starts_from_the_weights_given_and_others_anew(small_corpus: Path) -> None:
    words = ["ablation=prealignment", "budget=tiny", "seeds=1", f"data.path={small_corpus}"]
    plan = plan_study(*study_config(words, None))
    for cell in plan.cells:
        first, last = cell.steps[0], cell.steps[-1]
        assert "folder" in first.sources["backbone"] and "projector" not in first.sources
        assert cell.sources["backbone"]["step"] == last.key
    projector = next(cell for cell in plan.cells if cell.arm == "projector")
    assert "folder" in projector.steps[-1].sources["backbone"], "what pre-alignment does not train is as it was given"


def test_a_swapped_part_under_the_whole_system_brings_what_depends_on_it(small_corpus: Path) -> None:
    words = ["ablation=tokenizer_swap", "ablation.judges=[spoken answers]", "seeds=1", f"data.path={small_corpus}"]
    config, cells = study_config([*words, "weights=tiny"], None)
    plan = plan_study(config, cells)
    for cell in plan.cells:
        assert [step.stage for step in cell.steps] == ["tokenizer", "detokenizer", "prealign", "align", "sft"]
        made = {slot for slot, source in cell.sources.items() if "step" in source}
        assert made == {"tokenizer", "detokenizer", "style", "projector", "backbone"}
        assert "folder" in cell.sources["vision_encoder"]
    vision = plan_study(config, [item for item in cells if item != "weights=tiny"])
    seen = {step.key for cell in vision.cells for step in cell.steps if step.stage == "vision"}
    assert len(seen) == 1 and len(vision.cells) == 4, "what no arm changes is trained once for all"
