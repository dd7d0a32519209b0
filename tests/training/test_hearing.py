"""Speech that enters as features, and the user's tone beside units: trained and asked through the real commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training.conftest import SMALL

from omnikit.cli import main
from omnikit.system import System

FAMILY = "speech_encoder.model={family: hubert, dim: 16, layers: 1, heads: 2, ffn_dim: 16, conv_dim: 8}"
TONE = ["input_style.hidden_dim=8", "input_style.dim=8"]


@pytest.fixture(scope="module")
def ears(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A trained tokenizer and vision encoder, which every system here shares, as words of a command."""
    out = tmp_path_factory.mktemp("ears")
    for stage in ("tokenizer", "vision"):
        assert train(small_corpus, out, f"stage={stage}", f"recipe.{stage}.optim.steps=1") == 0
    return [f"{slot}.weights={out / 'system'}" for slot in ("tokenizer", "vision_encoder")]


def train(corpus: Path, out: Path, *words: str) -> int:
    return main(["train", *SMALL, f"data.path={corpus}", f"out={out}", "--traceback", *words])


def question(corpus: Path) -> dict[str, Path]:
    user = json.loads((corpus / "dialogue.test.jsonl").read_text().splitlines()[0])["messages"][0]
    return {"image": corpus / user["image"]["path"], "audio": corpus / user["audio"]["path"]}


def tensors(out: Path, stage: str, slot: str) -> dict[str, torch.Tensor]:
    return load_file(out / stage / "parts" / slot / "model.safetensors")


def answered(out: Path, corpus: Path, **slots: str) -> System:
    """The system that a run left, after it has answered a spoken question about a picture."""
    system = System.load(out / "system")
    for slot, component in slots.items():
        assert system.plan.nodes[slot].component == component
    reply = system.reply(**question(corpus), seed=3)
    assert reply.turn.parse_ok and reply.turn.raw == system.reply(**question(corpus), seed=3).turn.raw
    return system


def test_speech_enters_as_features_through_a_projector_of_its_own(
    small_corpus: Path, tmp_path: Path, ears: list[str]
) -> None:
    speech = ["speech_encoder=hf", FAMILY, "speech_encoder.out_dim=0", "projector@speech_projector=mlp", *ears]
    for stage in ("align", "sft"):
        assert train(small_corpus, tmp_path, f"stage={stage}", *speech) == 0
    for slot in ("speech_encoder", "speech_projector"):
        before, after = (tensors(tmp_path, stage, slot) for stage in ("align", "sft"))
        assert any(not torch.equal(before[name], after[name]) for name in before), f"{slot} did not learn"
    system = answered(tmp_path, small_corpus, speech_encoder="speech_encoder/hf", speech_projector="projector/mlp")
    (heard,) = system.listen(question(small_corpus)["audio"])
    assert heard.heard and heard.frames.shape[1] == system.part("backbone").width
    system.parts.pop("tokenizer")  # units are only written now
    assert isinstance(system.transcribe(question(small_corpus)["audio"]), str)


def test_the_tone_is_a_prefix_that_learns_with_the_backbone(
    small_corpus: Path, tmp_path: Path, ears: list[str]
) -> None:
    words = ["input_style=embed_prefix", "input_style.positions=2", *TONE, *ears]
    assert train(small_corpus, tmp_path, "stage=align", *words) == 0
    assert train(small_corpus, tmp_path, "stage=sft", *words) == 0
    before, after = (tensors(tmp_path, stage, "input_style") for stage in ("align", "sft"))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    system = answered(tmp_path, small_corpus, input_style="input_style/embed_prefix")
    tone, units = system.listen(question(small_corpus)["audio"])
    assert tone.frames.shape[0] == 2 and units.units is not None


def test_the_tone_is_named_by_a_classifier_with_a_stage_of_its_own(
    small_corpus: Path, tmp_path: Path, ears: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["input_style=tags", *TONE, *ears]
    assert main(["train", *SMALL, "stage=sft", f"data.path={small_corpus}", f"out={tmp_path}", *words]) == 2
    assert "needs a trained input_style" in capsys.readouterr().err
    short = ["stage.settings.optim.steps=3", "stage.settings.batch_s=8", "stage.settings.num_valid_batches=1"]
    assert train(small_corpus, tmp_path, "stage=input_style", *words, *short) == 0
    assert train(small_corpus, tmp_path, "stage=sft", *words) == 0
    system = answered(tmp_path, small_corpus, input_style="input_style/tags")
    tone, _ = system.listen(question(small_corpus)["audio"])
    assert tone.text.startswith("<emotion=") and tone.text in system.part("input_style").texts()


def test_a_stage_for_nothing_is_refused(small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL, "stage=input_style", f"data.path={small_corpus}", f"out={tmp_path}"]) == 2
    assert "input_style=tags" in capsys.readouterr().err
