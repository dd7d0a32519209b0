"""Four codebooks of EnCodec in a language model: every emitter learns them and replies with sound, or says why not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import omnikit
from omnikit.data.language_batches import LanguageBatch, LanguageSample, UserInput
from omnikit.errors import ContractError
from omnikit.stages.language import LanguageStage
from omnikit.stages.optim import Optim
from omnikit.system import System
from omnikit.types import Audio, Images
from omnikit.wiring import Node

CODEC: dict[str, Any] = {"dim": 8, "num_filters": 2, "ratios": [40, 8]}
MIND = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 48, "max_positions": 1024}
SMALL: dict[str, dict[str, Any]] = {"in_vocab": {}, "delay": {}, "depth": {"dim": 16, "layers": 1, "heads": 2}}


def question() -> Audio:
    time = torch.arange(3_200) / 24_000
    return Audio(0.3 * torch.sin(2 * torch.pi * 150 * time)[None], torch.tensor([3_200]), 24_000)


def system_with(emitter: str) -> System:
    nodes = {
        "tokenizer": Node("tokenizer/encodec", {"num_codebooks": 4, "codebook_size": 16, "vocab_id": "four", **CODEC}),
        "backbone": Node("backbone/hf_causal", MIND),
        "emitter": Node(f"emitter/{emitter}", SMALL.get(emitter, {})),
        "detokenizer": Node("detokenizer/encodec", CODEC),
        "format": Node("format/json", {"factors": []}),
    }
    torch.manual_seed(0)
    return System.assemble(nodes)


@pytest.mark.parametrize("emitter", SMALL)
def test_four_codebooks_are_learnt_and_spoken(emitter: str) -> None:
    system = system_with(emitter)
    system.max_new_tokens = 64
    assert system.part("backbone").codebooks == (16,) * 4
    units = tuple(tuple(book) for book in system.hear(question()).codes[0].tolist())
    samples = (
        LanguageSample("dialogue", UserInput(units=units), "yes", heard="is it", units=units),
        LanguageSample("tts", UserInput(text="yes"), "yes", units=units),
        LanguageSample("asr", UserInput(units=units), "is it"),
    )
    stage = LanguageStage(
        omnikit.create("vision_encoder/timm", image_size=32, dim=16, depth=1, heads=2),
        omnikit.create("projector/mlp", in_dim=16, out_dim=32),
        system.part("backbone"),
        system.part("format"),
        Optim(lr=1e-2, steps=4, warmup_steps=1, weight_decay=0.0),
        {"backbone": 1e-2, "emitter": 1e-2},
        emitter=system.part("emitter"),
    )
    stage.log = stage.log_dict = lambda *_, **__: None
    optimizer = stage.train().configure_optimizers()["optimizer"]
    batch = LanguageBatch(samples, (), Images(torch.zeros(0, 3, 32, 32)))
    losses = []
    for step in range(3):
        optimizer.zero_grad()
        losses.append(stage.training_step(batch, step))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    reply = system.eval().reply(audio=question(), seed=1)
    assert reply.turn.parse_ok
    said = system.say("yes", seed=1)
    steps = int(said.turn.units.lengths[0])
    assert said.turn.units.codes.shape[:2] == (1, 4) and said.audio.wave.shape[1] == 320 * steps


def test_an_emitter_of_one_codebook_says_what_fits() -> None:
    with pytest.raises(ContractError, match="one codebook, these have 4") as caught:
        system_with("hidden_ctc")
    assert "emitter=depth" in str(caught.value)
