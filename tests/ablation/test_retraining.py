"""What has to train again when a part is swapped, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from ablation.conftest import stage

from omnikit.ablation.retraining import stages_needed
from omnikit.ablation.shortening import budgeted, matched, num_steps, with_steps
from omnikit.errors import OmnikitError

MIND = ["projector", "backbone"]
SEEN = ["vision_encoder", *MIND, "format"]
STAGES: dict[str, Any] = {
    "tokenizer": stage("tokenizer", ["tokenizer"]),
    "detokenizer": stage("detokenizer", ["detokenizer"], ["tokenizer"], ["style"]),
    "style": stage("style", ["style"], ["detokenizer"]),
    "vision": stage("vision", ["vision_encoder"]),
    "prealign": stage("prealign", MIND, ["tokenizer"], SEEN),
    "align": stage("align", MIND, ["tokenizer"], SEEN),
    "sft": stage("sft", MIND, ["tokenizer"], SEEN),
}
ALL = ["tokenizer", "detokenizer", "vision", "prealign", "align", "sft"]
EVERY_SLOT = ["tokenizer", "detokenizer", "style", "vision_encoder", "projector", "backbone", "format"]


def needed(
    changed: list[str],
    goal: list[str] = EVERY_SLOT,
    given: list[str] = EVERY_SLOT,
    changed_stages: tuple[str, ...] = (),
    order: list[str] = ALL,
) -> list[str]:
    return stages_needed(STAGES, order, goal=goal, changed=changed, changed_stages=changed_stages, given=given)


def test_a_swapped_tokenizer_brings_its_detokenizer_and_the_stages_that_use_units() -> None:
    assert needed(["tokenizer"]) == ["tokenizer", "detokenizer", "prealign", "align", "sft"]


def test_what_nobody_judges_is_left_out() -> None:
    assert needed(["tokenizer"], goal=["tokenizer"]) == ["tokenizer"]
    assert needed(["tokenizer"], goal=["tokenizer", "style", "detokenizer"]) == ["tokenizer", "detokenizer"]


def test_a_swapped_detokenizer_leaves_tokenizer_and_mind_alone() -> None:
    assert needed(["detokenizer"]) == ["detokenizer"]
    assert needed(["style"], order=[*ALL, "style"]) == ["detokenizer", "style"]


def test_a_part_without_a_stage_brings_those_that_use_it() -> None:
    assert needed(["format"]) == ["prealign", "align", "sft"]
    assert needed(["vision_encoder"]) == ["vision", "prealign", "align", "sft"]


def test_a_stage_that_differs_runs_with_all_that_train_the_same_part() -> None:
    assert needed([], changed_stages=("align",)) == ["prealign", "align", "sft"]


def test_parts_without_weights_are_made() -> None:
    assert needed(["tokenizer"], given=[]) == ALL
    assert needed([], goal=["vision_encoder"], given=[]) == ["vision"]
    assert needed([]) == []


def test_a_budget_shortens_and_never_lengthens() -> None:
    found = budgeted(STAGES, {"tokenizer": 20, "sft": 1000, "vision": None})
    assert [num_steps(found[name]) for name in ("tokenizer", "sft", "vision", "align")] == [20, 100, 100, 100]
    assert found["tokenizer"]["settings"]["optim"]["warmup_steps"] == 2
    assert num_steps(STAGES["tokenizer"]) == 100
    for wrong in ({"tokeniser": 3}, {"sft": 0}, {"sft": "3"}):
        with pytest.raises(OmnikitError):
            budgeted(STAGES, wrong)


def test_compute_is_matched_by_steps_or_by_what_batches_hold() -> None:
    longer = {"sft": with_steps(STAGES["sft"], 400)}
    longer["sft"]["settings"]["batch_s"] = 2.0
    assert num_steps(matched(longer, STAGES, None)["sft"]) == 400
    assert num_steps(matched(longer, STAGES, "steps")["sft"]) == 100
    assert num_steps(matched(longer, STAGES, "tokens")["sft"]) == 200
    with pytest.raises(OmnikitError, match="tokens"):
        matched(longer, STAGES, "flop")


def test_compute_is_matched_by_the_flops_of_a_step() -> None:
    found = matched(STAGES, STAGES, "flops", {"sft": 300, "align": 10}, {"sft": 100})
    assert num_steps(found["sft"]) == 33, "three times the work a step, a third of the steps"
    assert found["sft"]["settings"]["optim"]["warmup_steps"] == 3
    assert num_steps(found["align"]) == num_steps(STAGES["align"]), "what the baseline does not run goes by steps"
    assert num_steps(matched(STAGES, STAGES, "flops", {"sft": 10**6}, {"sft": 1})["sft"]) == 1
