"""The questions that ship: each can be asked, its arms fit, and it trains what a swap makes necessary and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

import omnikit.conf
from omnikit.cli.ablate import plan_study, study_config

QUESTIONS = sorted(path.stem for path in Path(omnikit.conf.__path__[0], "ablation").glob("*.yaml"))
STAGES = {
    "tokenizer_swap": {"tokenizer"},
    "bottleneck_supervision": {"tokenizer"},
    "detokenizer_swap": {"detokenizer"},
    "style_module": {"style"},
    "output_format": {"prealign", "align", "sft"},
    "curricula": {"prealign", "align", "align_vision", "align_speech", "sft"},
    "run_length": {"tokenizer", "detokenizer"},
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_shipped_question_can_be_asked(name: str, small_corpus: Path) -> None:
    config, cells = study_config([f"ablation={name}", "budget=tiny", "seeds=1", f"data.path={small_corpus}"], None)
    plan = plan_study(config, cells)
    assert {own.arm.name: own.pruned for own in plan.arms if own.pruned} == {}
    assert len({cell.id for cell in plan.cells}) == len(plan.arms)
    assert {step.stage for step in plan.steps().values()} == STAGES[name]
    judges = plan.question.judges
    assert any(plan.question.primary.startswith(f"{judge}.") for judge in judges)
    for cell in plan.cells:
        assert {"tokenizer"} <= set(cell.sources), "everything that is judged comes from somewhere"


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
