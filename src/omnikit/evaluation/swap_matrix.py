"""The swap matrix: tiny systems in which every part meets every other, taught one step and asked for one answer.

A system is a row of choices, one for every slot of `AXES`, beside parts that are the same everywhere. Rows come from a
pairwise cover (`testing.pairwise`): two parts that negotiation refuses in any company are no row, but a reason.
Letters: K codebooks, T units.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch

from omnikit.data.language_batches import Ids, LanguageBatch, LanguageSample, Sound, UserInput
from omnikit.data.media import resample
from omnikit.errors import ContractError, OmnikitError
from omnikit.registry import available, fault_of
from omnikit.slots.seeing import picture_size
from omnikit.slots.units import first_ids
from omnikit.stages.language import LanguageStage, texts_of
from omnikit.stages.optim import Optim
from omnikit.system import System, read_wires
from omnikit.testing import subject
from omnikit.testing.material import draws, pictures, sounds
from omnikit.testing.pairwise import Cover, Impossible, Row, pairwise_cover
from omnikit.training.mind_jobs import unit_vectors
from omnikit.types import Audio, Images
from omnikit.variants import read_variant
from omnikit.wiring import Node, fits, negotiate

AXES = ("tokenizer", "emitter", "detokenizer", "style", "input_style")
FIXED = {
    "vision_encoder": Node("vision_encoder/timm", {"image_size": 32, "dim": 16, "depth": 1, "heads": 2}),
    "projector": Node("projector/mlp"),
    "backbone": Node("backbone/hf_causal", {"hidden": 64, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 64}),
    "format": Node("format/json"),
}
_SAMPLE_RATE = 16_000
_QUESTION_S = 0.5
_RATE = 1e-3
_TEXT_VOCAB = 320
_NUM_NEW = 12
"""Positions of the answer, whose units are spoken."""
_LABELS = {"emotion": "neutral", "pitch": "normal", "speed": "normal"}
_PICTURE, _RECORDING = "picture", "recording"
_SET_BY = re.compile(r"\s*\(set by [^)]*\)")

Verdict = Literal["ok", "refused", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What came of a system: `ok`, or `refused` by negotiation or `failed`, with the reason in one line.

    `blamed` are the two parts that go together in no system.
    """

    row: Row
    verdict: Verdict
    reason: str = ""
    blamed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}" if self.reason else self.verdict


def choices(only: str | None = None) -> dict[str, list[str]]:
    """The ids of every axis, plain ones first; `only` is one id that stands alone on its axis.

    Components that cannot be imported are left out. Raises `OmnikitError` for an id of a slot that is no axis.
    """
    if only is not None and only.split("/")[0] not in AXES:
        raise OmnikitError(f"The swap matrix exchanges {', '.join(AXES)}; {only} is none of them.")
    found = {slot: [item for item in available(slot) if not fault_of(item)] for slot in AXES}
    if only is not None:
        found[only.split("/")[0]] = [only]
    return {slot: sorted(ids, key=lambda item: (not item.endswith("/none"), item)) for slot, ids in found.items()}


@cache
def tiny(component_id: str) -> Node:
    """A component in its smallest known size: its variant `NAME_tiny` where there is one, else its defaults.

    A style that learns in the space of a trained voice gets stand-ins for what that voice would say.
    """
    base, changes = read_variant(f"{component_id}_tiny")
    if base == component_id:
        return Node(component_id, changes)
    if component_id.startswith("style/"):
        return Node(component_id, subject(component_id).parameters)
    return Node(component_id)


def nodes_of(row: Row) -> dict[str, Node]:
    """The parts of a system: those of the row, and those that are the same everywhere."""
    return {**FIXED, **{slot: tiny(item) for slot, item in row.items()}}


def cover_of(axes: Mapping[str, Sequence[str]]) -> Cover:
    """Systems that negotiation accepts and that pair every choice with every other, and the pairs that it refuses."""
    wires = read_wires()
    return pairwise_cover(axes, lambda row: fits(nodes_of(row), wires))


def outcomes(cover: Cover) -> Iterator[Outcome]:
    """What comes of every system of a cover, and why each impossible pair is refused."""
    yield from map(try_out, cover.rows)
    yield from map(refusal, cover.impossible)


def try_out(row: Row) -> Outcome:
    """Build a system, teach it one step, have it answer; nothing is raised for one that cannot."""
    try:
        plan = negotiate(nodes_of(row), read_wires())
    except ContractError as error:
        return Outcome(row, "refused", _in_one_line(error))
    try:
        with _seeded():
            system = System.build(plan, {})
            units = _heard(system)
            _teach(system, units)
            _answer(system.eval())
    except Exception as error:
        return Outcome(row, "failed", f"{type(error).__name__}: {_in_one_line(error)}")
    return Outcome(row, "ok")


def refusal(impossible: Impossible) -> Outcome:
    """Why two parts go together in no system; the reason names both, and what else stood in the way."""
    row = impossible.row
    blamed = tuple(row[slot] for slot in row if (slot, row[slot]) in impossible.pair)
    found = try_out(row)
    also = dict.fromkeys(part for pair in impossible.others for slot, part in pair if part not in blamed)
    company = f"nothing suits both; beside {', '.join(also)}, " if also else ""
    return Outcome(row, found.verdict, f"{' with '.join(blamed)}: {company}{found.reason}", blamed)


def _in_one_line(error: Exception) -> str:
    """The message without the fixes that it proposes and without who set what."""
    lines = [line.strip() for line in str(error).splitlines() if not line.startswith("Fits ")]
    return _SET_BY.sub(",", " ".join(lines)).rstrip(" ,.") + "."


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _question() -> Audio:
    """Half a second of gliding tones."""
    return sounds([round(_QUESTION_S * _SAMPLE_RATE)], _SAMPLE_RATE)


def _picture(system: System) -> Images:
    return pictures(picture_size(system.part("vision_encoder")), 1)


def _heard(system: System) -> Ids:
    """Units [K][T] of the question, from a tokenizer that has units to give."""
    tokenizer = system.part("tokenizer")
    if tokenizer.is_fitted_afterwards:
        rate = tokenizer.contract(**tokenizer.parameters_given).needs["audio"].sample_rate
        tokenizer.fit_units([resample(_question(), rate)], draws())
    return first_ids(system.hear(_question()))


def _teach(system: System, units: Ids) -> None:
    """One step of the stages of the mind on a dialogue about a picture, a text to speak, and a transcript."""
    import lightning
    from torch.utils.data import DataLoader

    backbone, form, hearing = system.part("backbone"), system.part("format"), system.hearing
    listens = hearing.input_style is not None
    said = UserInput(units=units, sound=Sound(_RECORDING, _QUESTION_S) if listens else None)
    shown = UserInput((_PICTURE,), said.units, sound=said.sound)
    samples = (
        LanguageSample("dialogue", shown, "a star", heard="what is it", style=_LABELS, units=units),
        LanguageSample("tts", UserInput(text="a star"), "a star", units=units),
        LanguageSample("asr", said, "what is it"),
    )
    backbone.fit_text(texts_of(samples, form, backbone), _TEXT_VOCAB)
    backbone.init_unit_embeddings(unit_vectors(system.part("tokenizer")), draws())
    learns = ("projector", "backbone", "emitter", *(("input_style",) if _has_weights(hearing.input_style) else ()))
    stage = LanguageStage(
        system.part("vision_encoder"),
        system.part("projector"),
        backbone,
        form,
        Optim(lr=_RATE, steps=1),
        dict.fromkeys(learns, _RATE),
        hearing=hearing,
        emitter=system.emitter,
    )
    audio = resample(_question(), hearing.sample_rate) if hearing.sample_rate else None
    recordings = (_RECORDING,) if listens else ()
    batch = LanguageBatch(samples, (_PICTURE,), _picture(system), recordings, audio)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # its banners and tips; errors still show
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_steps=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        batches: Any = [batch]
        trainer.fit(stage, DataLoader(batches, batch_size=None))
    if trainer.interrupted:
        raise KeyboardInterrupt


def _has_weights(part: Any) -> bool:
    return part is not None and any(True for _ in part.parameters())


def _answer(system: System) -> None:
    """Hear, see and read a question, write units greedily, say them.

    Raises `OmnikitError` for an answer without sound.
    """
    backbone, form = system.part("backbone"), system.part("format")
    wanted, user, _ = system.question(image=_picture(system), audio=_question(), text="say it")
    written = system.emitter.generate(
        backbone,
        [form.prompt("tts", user)],
        generator=draws(),
        max_new_tokens=_NUM_NEW,
        grammar=form.grammar("tts", backbone, system.style_values()),
    )[0]
    turn = form.parse("tts", written.text, backbone)
    if not written.finished or not turn.parse_ok or turn.units is None:
        raise OmnikitError(f"the answer is no row of units: '{written.text}'.")
    style, _ = system.decided(turn, wanted)
    sound = system.speak(turn.units, style)
    if not sound.wave.numel() or not bool(sound.wave.isfinite().all()):
        raise OmnikitError(
            f"the sound of {int(turn.units.lengths[0])} steps is {list(sound.wave.shape)}, or not finite."
        )
