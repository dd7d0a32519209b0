"""Setting up the stages of the mind: `vision`, and `prealign`, `align` and `sft`, which share one objective."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, cast

import torch

from omnikit.data.language_batches import LanguageBatches, LanguageSample, language_samples
from omnikit.data.scene_batches import SceneBatches
from omnikit.errors import DataError
from omnikit.slots.backbone import Backbone
from omnikit.slots.base import Component
from omnikit.slots.format import Format
from omnikit.slots.projector import Projector
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.stages.language import LanguageStage, texts_of
from omnikit.stages.optim import Optim
from omnikit.stages.vision import VisionStage
from omnikit.training.extract import audio_of, extract_units, records_of
from omnikit.training.job import Context, Job
from omnikit.types import Units


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
    samples, checks = (_samples(context, tokenizer, split) for split in ("train", "valid"))
    if "backbone" not in context.weights:
        texts = chain(
            texts_of(chain.from_iterable(samples.values()), form, backbone),
            written_in(records_of(context.corpus, *(f"{kind}.train" for kind in settings["text_from"]))),
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
    )
    batches, check = (
        LanguageBatches(
            context.corpus,
            chosen,
            settings["mixture"],
            module.count,
            batch_tokens=settings["batch_tokens"],
            image_size=module.image_size,
            num_batches=number,
            seed=context.seed,
            start=start,
        )
        for chosen, number, start in (
            (samples, settings["optim"]["steps"], context.start),
            (checks, settings["num_valid_batches"], 0),
        )
    )

    def finish() -> dict[str, Component]:
        parts = {slot: context.parts[slot] for slot in context.config["stage"]["trains"]}
        for part in parts.values():
            context.settle(part)
        return parts

    return Job(module, batches, check, finish)


def _samples(context: Context, tokenizer: SpeechTokenizer, split: str) -> dict[str, list[LanguageSample]]:
    """Samples of every task of the mixture, from the kinds of record that the recipe names as its sources."""
    settings = context.settings
    found: dict[str, list[LanguageSample]] = {}
    for task, weight in settings["mixture"].items():
        if weight <= 0:
            continue
        if not settings["sources"].get(task):
            raise DataError(
                f"The mixture has a weight for '{task}' and the recipe no sources for it.\n"
                f"Name kinds of record, for example recipe.{context.config['stage']['name']}.sources.{task}=[dialogue]."
            )
        records = records_of(context.corpus, *(f"{kind}.{split}" for kind in settings["sources"][task]))
        store: Mapping[str, Any] = {}
        if task != "caption":
            store = extract_units(tokenizer, context.corpus, audio_of(records, renderings=task == "asr"))
        found |= language_samples(records, [task], store, typed_share=settings["typed_share"])
    return found


def written_in(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Every text that somebody writes or says in corpus records."""
    return (message["text"] for record in records for message in record["messages"] if "text" in message)


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
