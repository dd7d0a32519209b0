"""A language stage and a system with each emitter: several codebooks are learnt, counted, written and read back."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import omnikit
from omnikit.conversation import Conversation
from omnikit.data.language_batches import LanguageBatch, LanguageSample, UserInput
from omnikit.errors import ContractError, OmnikitError
from omnikit.slots.backbone import Segment
from omnikit.slots.emitter import Emitter
from omnikit.stages.language import LanguageStage, prompt_of, sequence_of
from omnikit.stages.optim import Optim
from omnikit.system import System
from omnikit.types import Images
from omnikit.wiring import Node

BOOKS = (8, 6, 7, 5)
UNITS: dict[str, Any] = {"unit_rate": 25, "layout": "frame", "vocab_id": "test"}
SIZES: dict[str, Any] = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 48, "max_positions": 512}
SMALL: dict[str, dict[str, Any]] = {
    "in_vocab": {},
    "delay": {},
    "depth": {"dim": 16, "layers": 1, "heads": 2},
    "hidden_ctc": {"factor": 4, "dim": 16, "layers": 1, "heads": 2},
}


def books_of(name: str) -> tuple[int, ...]:
    return BOOKS[:1] if name == "hidden_ctc" else BOOKS


def emitter_of(name: str) -> Emitter:
    known = {"codebooks": books_of(name), "unit_rate": 25, "width": 32}
    takes = omnikit.describe(f"emitter/{name}").parameters
    torch.manual_seed(1)
    given = {key: value for key, value in known.items() if key in takes}
    return omnikit.create(f"emitter/{name}", **SMALL[name], **given)


def spoken(name: str, length: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple((3 * step + book) % size for step in range(length)) for book, size in enumerate(books_of(name)))


def batch_of(name: str) -> LanguageBatch:
    samples = (
        LanguageSample(
            "dialogue",
            UserInput(units=spoken(name, 3)),
            "a star",
            heard="what",
            style={"emotion": "sad"},
            units=spoken(name, 6),
        ),
        LanguageSample("tts", UserInput(text="big"), "big", units=spoken(name, 4)),
        LanguageSample("asr", UserInput(units=spoken(name, 4)), "big"),
    )
    return LanguageBatch(samples, (), Images(torch.zeros(0, 3, 32, 32)))


def stage_of(name: str, form: str = "json") -> LanguageStage:
    torch.manual_seed(0)
    stage = LanguageStage(
        omnikit.create("vision_encoder/timm", image_size=32, dim=16, depth=1, heads=2),
        omnikit.create("projector/mlp", in_dim=16, out_dim=32),
        omnikit.create("backbone/hf_causal", **SIZES, **UNITS, codebooks=books_of(name)),
        omnikit.create(f"format/{form}", factors=["emotion"]),
        Optim(lr=1e-2, steps=20, warmup_steps=1, weight_decay=0.0),
        {"backbone": 1e-2, "emitter": 1e-2},
        emitter=emitter_of(name),
    )
    stage.log = stage.log_dict = lambda *_, **__: None
    return stage.train()


@pytest.mark.parametrize("name", SMALL)
def test_a_stage_learns_with_it_and_counts_what_it_learns(name: str) -> None:
    stage, batch = stage_of(name), batch_of(name)
    optimizer = stage.configure_optimizers()["optimizer"]
    before = {key: value.clone() for key, value in stage.emitter.named_parameters()}
    losses = []
    for step in range(12):
        optimizer.zero_grad()
        losses.append(stage.training_step(batch, step))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert all(not torch.equal(value, before[key]) for key, value in stage.emitter.named_parameters())
    sequences = [sequence_of(sample, {}, stage.format, stage.backbone) for sample in batch.samples]
    counted = int(stage.emitter.loss(stage.backbone, sequences).parts["tokens"].sum())
    assert stage.count_trained(batch) == counted
    positions = [stage.emitter.count_tokens(stage.backbone, sequence) for sequence in sequences]
    assert [stage.count(sample) for sample in batch.samples] == positions


def test_in_fewer_positions_than_tokens() -> None:
    long = {name: stage_of(name).count(batch_of(name).samples[1]) for name in ("in_vocab", "delay", "depth")}
    assert long["in_vocab"] - long["depth"] == 4 * len(BOOKS) - 4
    assert long["delay"] - long["depth"] == len(BOOKS) - 1


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("form", ["json", "parallel"])
def test_a_system_replies_with_it_whatever_its_weights(name: str, form: str) -> None:
    nodes = {
        "backbone": Node("backbone/hf_causal", {**SIZES, **UNITS, "codebooks": books_of(name)}),
        "emitter": Node(f"emitter/{name}", SMALL[name]),
        "format": Node(f"format/{form}", {"factors": ["emotion"]}),
    }
    torch.manual_seed(0)
    system = System.assemble(nodes)
    system.max_new_tokens = 72
    assert system.plan.contracts["emitter"].ignores or system.emitter.codebooks == books_of(name)
    for heat in (0.0, 1.0):
        reply = system.reply(text="what?", seed=1, temperature=heat)
        assert reply.turn.parse_ok, reply.turn.raw
        streamed = Conversation(system, temperature=heat).reply(text="what?", seed=1)
        assert (streamed.turn.raw, streamed.truncated) == (reply.turn.raw, reply.truncated)
    said = system.say("big", seed=1).turn
    assert said.units is not None and tuple(said.units.codes.shape[:2]) == (1, len(books_of(name)))


def test_what_a_stage_taught_is_what_a_system_says(tmp_path: Any) -> None:
    """Learnt by heart, saved, loaded again, and said unit for unit."""
    stage, batch = stage_of("depth"), batch_of("depth")
    optimizer = torch.optim.Adam([*stage.backbone.parameters(), *stage.emitter.parameters()], lr=1e-2)
    for step in range(70):
        optimizer.zero_grad()
        loss = stage.training_step(batch, step)
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    System.of({"backbone": stage.backbone, "emitter": stage.emitter, "format": stage.format}).save(tmp_path)
    system = System.load(tmp_path)
    turn = system.say("big").turn
    assert tuple(map(tuple, turn.units.codes[0].tolist())) == spoken("depth", 4)
    (answer,) = system.emitter.generate(
        system.part("backbone"),
        [prompt_of(batch.samples[0], {}, stage.format)],
        generator=torch.Generator(),
        max_new_tokens=200,
    )
    assert system.part("format").parse("dialogue", answer.text, system.part("backbone")).text == "a star"


def test_hidden_ctc_refuses_several_codebooks_before_anything_is_made() -> None:
    nodes = {
        "backbone": Node("backbone/hf_causal", {**SIZES, **UNITS, "codebooks": BOOKS}),
        "emitter": Node("emitter/hidden_ctc"),
        "format": Node("format/json"),
    }
    with pytest.raises(ContractError, match="one codebook, these have 4") as caught:
        System.assemble(nodes)
    assert "emitter=delay" in str(caught.value)


def test_hidden_ctc_refuses_to_learn_units_that_a_format_parts() -> None:
    stage = stage_of("hidden_ctc", "parallel")
    sample = LanguageSample("dialogue", UserInput(text="a"), "one two three four five", units=spoken("hidden_ctc", 40))
    with pytest.raises(OmnikitError, match="several places"):
        stage.losses(LanguageBatch((sample,), (), Images(torch.zeros(0, 3, 32, 32))))


def test_a_system_without_an_emitter_writes_in_the_vocabulary() -> None:
    nodes = {
        "backbone": Node("backbone/hf_causal", {**SIZES, **UNITS, "codebooks": BOOKS}),
        "format": Node("format/json", {"factors": []}),
    }
    torch.manual_seed(0)
    plain = System.assemble(nodes)
    torch.manual_seed(0)
    named = System.assemble({**nodes, "emitter": "emitter/in_vocab"})
    plain.max_new_tokens = named.max_new_tokens = 72
    assert plain.reply(text="a").turn.raw == named.reply(text="a").turn.raw
    prompt = [Segment(control="start"), Segment(text="a"), Segment(control="reply")]
    (direct,) = plain.part("backbone").generate([prompt], generator=torch.Generator(), max_new_tokens=8)
    (asked,) = plain.emitter.generate(plain.part("backbone"), [prompt], generator=torch.Generator(), max_new_tokens=8)
    assert direct == asked
