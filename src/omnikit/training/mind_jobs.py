"""Setting up the stages of the mind: `vision`, and `prealign`, `align` and `sft`, which share one objective."""

from __future__ import annotations

from itertools import chain
from typing import Any, cast

import torch

from omnikit.data.language_batches import LanguageBatches
from omnikit.data.scene_batches import SceneBatches
from omnikit.slots.backbone import Backbone
from omnikit.slots.base import Component
from omnikit.slots.emitter import Emitter
from omnikit.slots.format import Format
from omnikit.slots.hearing import Hearing
from omnikit.slots.projector import Projector
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.stages.language import LanguageStage, texts_of
from omnikit.stages.optim import Optim
from omnikit.stages.vision import VisionStage
from omnikit.training.job import Context, Job
from omnikit.training.mixtures import Material
from omnikit.training.reading import Reading
from omnikit.types import Units

HEARING = ("speech_encoder", "speech_projector", "input_style")
"""The places of the parts that hear beside the tokenizer, in the order of `slots.hearing.Hearing`."""


def vision_job(context: Context) -> Job:
    """Dense labels on freshly drawn scenes."""
    settings = context.settings
    encoder = cast(VisionEncoder, context.parts["vision_encoder"])
    train, valid = (
        SceneBatches(batch_size=settings["batch_size"], num_batches=number, seed=seed, start=start, held_out=held_out)
        for number, seed, start, held_out in (
            (settings["optim"]["steps"], context.seed, context.start, False),
            (settings["num_valid_batches"], context.seed + 1, 0, True),
        )
    )

    def finish() -> dict[str, Component]:
        context.settle(encoder)
        return {"vision_encoder": encoder}

    return Job(VisionStage(encoder, Optim(**settings["optim"])), train, valid, finish)


def language_job(context: Context) -> Job:
    """Next-token training on the recipe's mixture; a new backbone first learns its text vocabulary from the corpus."""
    settings = context.settings
    backbone = cast(Backbone, context.parts["backbone"])
    tokenizer = cast(SpeechTokenizer, context.parts["tokenizer"])
    form = cast(Format, context.parts["format"])
    emitter = cast(Emitter | None, context.parts.get("emitter"))
    hearing = Hearing(*(cast(Any, context.parts.get(slot)) for slot in HEARING))
    material = Material(context, tokenizer, hearing)
    if "backbone" not in context.weights:
        texts = chain(
            texts_of(material.samples("train"), form, backbone),
            material.written(settings["text_from"]),
            () if hearing.input_style is None else hearing.input_style.texts(),
        )
        backbone.fit_text(texts, settings["text_vocab"])
        backbone.init_unit_embeddings(unit_vectors(tokenizer), torch.Generator().manual_seed(context.seed))
    module = LanguageStage(
        cast(VisionEncoder, context.parts["vision_encoder"]),
        cast(Projector, context.parts["projector"]),
        backbone,
        form,
        Optim(**settings["optim"]),
        settings["rates"],
        image_root=context.corpus,
        misread=settings["misread"],
        seed=context.seed,
        hearing=hearing,
        emitter=emitter,
        vision_from=settings["vision_from"],
    )
    reading = Reading(context.folder, settings["batch_tokens"], resumed=context.start > 0)

    def batches(split: str, num_batches: int, start: int = 0) -> LanguageBatches:
        return LanguageBatches(
            context.corpus,
            material.mixture(split, module.count, settings["batch_tokens"], backbone.max_positions),
            image_size=module.image_size,
            num_batches=num_batches,
            start=start,
            origin=(reading.step, reading.state) if start else None,
            audio_rate=hearing.sample_rate,
            piece_tokens=context.config["trainer"].get("micro_tokens"),
        )

    train = batches("train", settings["optim"]["steps"], context.start)
    valid = batches("valid", settings["num_valid_batches"]) if material.has("valid") else None

    def finish() -> dict[str, Component]:
        parts = {slot: context.parts[slot] for slot in context.config["stage"]["trains"]}
        for part in parts.values():
            context.settle(part)
        return parts

    return Job(module, train, valid, finish, callbacks=(reading,))


def unit_vectors(tokenizer: SpeechTokenizer) -> torch.Tensor:
    """The tokenizer's own vector of every unit [num_units, D], codebook after codebook."""
    port = tokenizer.contract(**tokenizer.parameters_given).gives["units"]
    vectors = []
    for book, size in enumerate(port.codebooks):
        codes = torch.zeros(1, len(port.codebooks), size, dtype=torch.long)  # [1, K, size]
        codes[0, book] = torch.arange(size)
        units = Units(codes, torch.tensor([size]), port.codebooks, port.rate, tokenizer.vocab_id, port.layout)
        vectors.append(tokenizer.embed(units).features[0])
    return torch.cat(vectors).detach()
