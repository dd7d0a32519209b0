"""Tiny systems of exchanged parts learn a step and answer, or are refused with both ends named; the page is whole."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from omnikit import registry
from omnikit.cli import main
from omnikit.evaluation import swap_matrix
from omnikit.evaluation.swap_matrix import AXES, choices, cover_of, refusal, tiny, try_out
from omnikit.evaluation.swap_table import page_of
from omnikit.testing.pairwise import Row
from omnikit.wiring import Node

ROOT = Path(__file__).parents[2]
CORE = "omnikit-core"
HANDFUL = (
    ("spiral_fsq", "in_vocab", "uvits", "label_centroid", "none"),
    ("bottleneck", "hidden_ctc", "cfm_mel", "gmvae", "tags"),
    ("spiral_fsq", "depth", "cfm_mel", "none", "embed_prefix"),
    ("bottleneck", "delay", "uvits", "text_prompt", "none"),
    ("spiral_fsq", "hidden_ctc", "uvits", "reference", "embed_prefix"),
)


def row_of(*names: str) -> Row:
    return {slot: f"{slot}/{name}" for slot, name in zip(AXES, names, strict=True)}


@pytest.fixture
def misfit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two voices wants units whose runs are merged, which no tiny tokenizer gives."""

    def other(component_id: str) -> Node:
        node = tiny(component_id)
        reduced = component_id == "detokenizer/uvits"
        return replace(node, parameters={**node.parameters, "layout": "reduced"}) if reduced else node

    monkeypatch.setattr(swap_matrix, "tiny", other)


@pytest.mark.parametrize("names", HANDFUL, ids="-".join)
@pytest.mark.filterwarnings("ignore:emitter/delay:UserWarning", "ignore:emitter/depth:UserWarning")
def test_a_system_of_our_parts_learns_a_step_and_answers(names: tuple[str, ...]) -> None:
    state = torch.get_rng_state()
    assert str(try_out(row_of(*names))) == "ok"
    assert torch.equal(state, torch.get_rng_state())


def test_our_parts_stand_in_systems_that_negotiation_accepts() -> None:
    ours = {
        slot: [item for item in ids if registry.entries()[item].distribution == CORE] for slot, ids in choices().items()
    }
    cover = cover_of(ours)
    assert not cover.impossible
    assert {part for row in cover.rows for part in row.values()} == {part for ids in ours.values() for part in ids}


def test_what_cannot_go_together_is_refused_with_both_ends_named(misfit: None) -> None:
    rows = (row_of(*HANDFUL[0]), row_of("bottleneck", "delay", "cfm_mel", "none", "tags"))
    cover = cover_of({slot: [row[slot] for row in rows] for slot in AXES})
    assert {row["detokenizer"] for row in cover.rows} == {"detokenizer/cfm_mel"}
    found = {outcome.blamed: str(outcome) for outcome in map(refusal, cover.impossible)}
    assert set(found) == {(f"tokenizer/{name}", "detokenizer/uvits") for name in ("spiral_fsq", "bottleneck")}
    assert found["tokenizer/bottleneck", "detokenizer/uvits"] == (
        "refused: tokenizer/bottleneck with detokenizer/uvits: backbone.units -> detokenizer.units do not fit: layout "
        "differs. backbone/hf_causal gives frame, detokenizer/uvits takes reduced."
    )


def test_a_part_that_breaks_is_a_failure_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = registry.resolve("detokenizer/uvits")

    def decode(self: Any, units: Any, style: Any, generator: Any) -> Any:
        sound = original(self, units, style, generator)
        return replace(sound, wave=sound.wave * float("nan"))

    original = voice.decode
    monkeypatch.setattr(voice, "decode", decode)
    found = try_out(row_of(*HANDFUL[0]))
    assert found.verdict == "failed"
    assert found.reason.startswith("OmnikitError: the sound of ") and "not finite" in found.reason
    assert "systems that fail" in page_of([found])


def test_one_part_is_tried_beside_all_others_and_the_page_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], misfit: None
) -> None:
    row = {slot: [item] for slot, item in row_of(*HANDFUL[0]).items()}
    row["detokenizer"] = ["detokenizer/cfm_mel", "detokenizer/uvits"]
    asked = []
    monkeypatch.setattr(swap_matrix, "choices", lambda only: asked.append(only) or row)
    assert main(["swaps", "tokenizer/spiral_fsq"]) == 0
    assert asked == ["tokenizer/spiral_fsq"]
    page, told = capsys.readouterr()
    assert "## 1 systems that work" in page and "| spiral_fsq | in_vocab | cfm_mel | label_centroid | none |" in page
    assert "| tokenizer/spiral_fsq, detokenizer/uvits | tokenizer/spiral_fsq with detokenizer/uvits:" in page
    assert "1/2 tokenizer/spiral_fsq emitter/in_vocab" in told and ": ok" in told


def test_only_parts_that_are_exchanged_can_be_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert choices("style/none")["style"] == ["style/none"]
    assert choices()["input_style"][0] == "input_style/none"
    assert main(["swaps", "projector/mlp"]) == 2
    assert "projector/mlp is none of them" in capsys.readouterr().err


def declared() -> dict[str, list[str]]:
    """The components of this repository for every axis, ours and those of plugins/, installed or not."""
    found: dict[str, list[str]] = {slot: [] for slot in AXES}
    for path in (ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))):
        points = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["entry-points"]
        for component_id in points.get("omnikit.components", {}):
            if component_id.split("/")[0] in AXES:
                found[component_id.split("/")[0]].append(component_id)
    return found


def test_the_printed_page_leaves_no_pair_out() -> None:
    page = (ROOT / "docs" / "swap_matrix.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    met = set()
    for row in rows:
        parts = [f"{slot}/{name}" for slot, name in zip(AXES, row, strict=True)] if len(row) == len(AXES) else []
        met |= {frozenset(pair) for pair in combinations(parts or row[0].split(", "), 2)}
    assert "that fail" not in page
    for one, other in combinations(declared().values(), 2):
        assert {frozenset({left, right}) for left in one for right in other} <= met, (
            "omnikit swaps > docs/swap_matrix.md"
        )
