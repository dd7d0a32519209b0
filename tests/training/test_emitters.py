"""An emitter with weights of its own, trained and asked through the real commands."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from training.conftest import SMALL

from omnikit.cli import main
from omnikit.cli.config import compose_config
from omnikit.system import System
from omnikit.training.identity import slots_of

CTC = ["emitter=hidden_ctc_tiny", "emitter.dim=16", "emitter.heads=2"]


def test_it_learns_in_align_and_sft_and_is_part_of_the_system(small_corpus: Path, tmp_path: Path) -> None:
    def train(*words: str) -> int:
        return main(["train", *SMALL, *CTC, f"data.path={small_corpus}", f"out={tmp_path}", "--traceback", *words])

    for stage in ("tokenizer", "vision"):
        assert train(f"stage={stage}", f"recipe.{stage}.optim.steps=1") == 0
    for stage in ("align", "sft"):
        assert train(f"stage={stage}") == 0
    before, after = (load_file(tmp_path / stage / "parts/emitter/model.safetensors") for stage in ("align", "sft"))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    system = System.load(tmp_path / "system")
    assert system.plan.nodes["emitter"].component == "emitter/hidden_ctc"
    user = json.loads((small_corpus / "dialogue.test.jsonl").read_text().splitlines()[0])["messages"][0]
    turn = system.reply(image=small_corpus / user["image"]["path"], audio=small_corpus / user["audio"]["path"]).turn
    assert turn.parse_ok
    assert system.say("hello").turn.units is not None


def test_a_run_without_one_of_its_own_is_known_as_ever() -> None:
    """The plain emitter is no part of a stage, so what runs were known by before there were emitters stays."""
    plain, other = (compose_config("train", ["experiment=emova_tiny", "stage=sft", *words]) for words in ([], CTC))
    assert plain["emitter"]["component"] == "emitter/in_vocab"
    assert "emitter" not in (*slots_of(plain["stage"]), *plain["stage"]["settings"]["rates"])
    assert "emitter" in slots_of(other["stage"]) and other["stage"]["settings"]["rates"]["emitter"] > 0
