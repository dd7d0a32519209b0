"""Setting up the stages of the speech parts: `tokenizer` and `detokenizer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from omnikit.data.phones import PHONES
from omnikit.data.speech_batches import Perturbation, SpeechBatches, phone_items
from omnikit.data.voice_batches import VoiceBatches, VoiceItem, voice_items
from omnikit.slots.base import Component
from omnikit.slots.detokenizer import Detokenizer
from omnikit.slots.style import StyleModule
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.stages.detokenizer import DetokenizerStage
from omnikit.stages.optim import Optim
from omnikit.stages.tokenizer import TokenizerStage
from omnikit.training.extract import audio_of, extract_units, records_of
from omnikit.training.finish import name_after_weights
from omnikit.training.job import Context, Job

STYLE_SECONDS = 240.0
"""Labelled audio a style composition is averaged over, at most."""


def tokenizer_job(context: Context) -> Job:
    """CTC training on every labelled recording of the training split."""
    settings = context.settings
    tokenizer = cast(SpeechTokenizer, context.parts["tokenizer"])
    index = {phone: i for i, phone in enumerate(PHONES)}
    train = phone_items(records_of(context.corpus, *settings["files"]), index)
    valid = phone_items(records_of(context.corpus, "speech.valid"), index)[: settings["num_valid"]]
    batches = SpeechBatches(
        context.corpus,
        train,
        batch_s=settings["batch_s"],
        num_batches=settings["optim"]["steps"],
        seed=context.seed,
        start=context.start,
        perturbation=Perturbation(**settings["perturbation"]),
    )
    check = SpeechBatches(context.corpus, valid, batch_s=60.0, num_batches=_one_pass(valid, 60.0), seed=0)

    def finish() -> dict[str, Component]:
        context.settle(tokenizer)
        name_after_weights(tokenizer, "vocab_id", "tokenizer")
        return {"tokenizer": tokenizer}

    return Job(TokenizerStage(tokenizer, Optim(**settings["optim"])), batches, check, finish)


def detokenizer_job(context: Context) -> Job:
    """Adversarial training on canonical units → styled speech; afterwards the style table is fitted to its space."""
    settings = context.settings
    detokenizer = cast(Detokenizer, context.parts["detokenizer"])
    style = cast(StyleModule, context.parts["style"])
    tokenizer = cast(SpeechTokenizer, context.parts["tokenizer"])
    files = ("voice.train", "voice.valid")
    store = extract_units(tokenizer, context.corpus, audio_of(records_of(context.corpus, *files)))
    train, valid = (list(voice_items(records_of(context.corpus, name))) for name in files)
    batches, check = (
        VoiceBatches(
            context.corpus,
            items,
            store,
            unit_rate=float(context.plan.contracts["tokenizer"].gives["units"].rate),
            sample_rate=detokenizer.sample_rate,
            hop_size=detokenizer.hop_size,
            batch_s=settings["batch_s"],
            num_batches=num_batches,
            seed=context.seed,
            start=start,
        )
        for items, num_batches, start in (
            (train, settings["optim"]["steps"], context.start),
            (valid, settings["num_valid_batches"], 0),
        )
    )
    units = context.plan.contracts["tokenizer"].gives["units"]
    module = DetokenizerStage(
        detokenizer, Optim(**settings["optim"]), units=units, seed=context.seed, **settings["adversary"]
    )

    def finish() -> dict[str, Component]:
        context.settle(detokenizer)
        if style.factors:
            space = name_after_weights(detokenizer, "style_space", "uvits")
            vectors, labels = style_examples(detokenizer, batches, train)
            style.fit(vectors, labels, space)
            context.settle(style)
        return {"detokenizer": detokenizer, "style": style}

    return Job(module, batches, check, finish)


def style_examples(
    detokenizer: Detokenizer, batches: VoiceBatches, items: Sequence[VoiceItem]
) -> tuple[torch.Tensor, list[Mapping[str, str]]]:
    """Reference embeddings [N, D] of training recordings and their labels, at most `STYLE_SECONDS` a composition."""
    used: dict[tuple[str, ...], float] = {}
    chosen = []
    for item in items:
        key = tuple(f"{name}={value}" for name, value in sorted(item.style.items()))
        if used.get(key, 0.0) < STYLE_SECONDS:
            used[key] = used.get(key, 0.0) + item.duration_s
            chosen.append(item)
    chosen.sort(key=lambda item: item.duration_s)
    detokenizer.eval()
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(chosen), 16):
            audio = batches.collate(chosen[start : start + 16]).audio
            vectors.append(detokenizer.style_vectors(audio))
    return torch.cat(vectors).clone(), [item.style for item in chosen]


def _one_pass(items: Sequence[tuple[str, float, Any]], batch_s: float) -> int:
    """Batches that cover about all items once."""
    return max(1, round(sum(item[1] for item in items) / batch_s))
