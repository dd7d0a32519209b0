"""Setting up the stages of the speech parts: `tokenizer_pretrain`, `tokenizer` and `detokenizer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from omnikit.artefacts import name_after_weights
from omnikit.contracts import AudioPort
from omnikit.data.characters import character_items
from omnikit.data.lexicon import LanguagePack, language_pack
from omnikit.data.speech_batches import Perturbation, SpeechBatches, audio_items, phone_items, within
from omnikit.data.voice_batches import VoiceBatches, VoiceItem, voice_items
from omnikit.errors import OmnikitError
from omnikit.nn.devices import move
from omnikit.nn.spiral_masking import Masking
from omnikit.registry import id_of
from omnikit.slots.base import Component
from omnikit.slots.detokenizer import Detokenizer
from omnikit.slots.style import StyleModule
from omnikit.slots.tokenizer import LabelKind, SpeechTokenizer
from omnikit.stages.detokenizer import DetokenizerStage
from omnikit.stages.optim import Optim
from omnikit.stages.tokenizer import TokenizerStage
from omnikit.stages.tokenizer_pretrain import Teaching, TokenizerPretrainStage
from omnikit.training.extract import audio_of, extract_units, records_of
from omnikit.training.job import Context, Job
from omnikit.training.listening import Listening
from omnikit.training.style_vectors import labelled_vectors
from omnikit.training.told_styles import examples_of, takes_style, told_styles

VALID_BATCH_S = 60.0
FITTED_S = 3600.0
"""Recordings that units are fitted to, where a tokenizer finds them after training."""


def tokenizer_pretrain_job(context: Context) -> Job:
    """Contrastive training of the tokenizer's encoder on every recording of the training split, labelled or not."""
    settings = context.settings
    tokenizer = cast(SpeechTokenizer, context.parts["tokenizer"])
    module = TokenizerPretrainStage(
        tokenizer,
        Optim(**settings["optim"]),
        Masking(**settings["masking"]),
        Teaching(**settings["teaching"]),
        context.seed,
    )
    train, valid = (
        within(audio_items(records_of(context.corpus, *names)), min_s=settings["min_s"])
        for names in (settings["files"], ("speech.valid",))
    )
    valid = valid[: settings["num_valid"]]
    batches, check = (
        SpeechBatches(
            context.corpus,
            items,
            batch_s=batch_s,
            num_batches=num_batches,
            seed=seed,
            start=start,
            crop_s=settings["crop_s"],
        )
        for items, batch_s, num_batches, seed, start in (
            (train, settings["batch_s"], settings["optim"]["steps"], context.seed, context.start),
            (valid, VALID_BATCH_S, _one_pass(valid, VALID_BATCH_S), 0, 0),
        )
    )

    def finish() -> dict[str, Component]:
        context.settle(tokenizer)
        return {"tokenizer": tokenizer}

    return Job(module, batches, check, finish, complete=False)


def tokenizer_job(context: Context) -> Job:
    """Training on every recording of the training split that has the labels the tokenizer learns from."""
    settings = context.settings
    tokenizer = cast(SpeechTokenizer, context.parts["tokenizer"])
    port = context.plan.contracts["tokenizer"].needs["audio"]
    assert isinstance(port, AudioPort)  # the slot's promise
    rate = int(port.sample_rate)
    pack = language_pack(settings["phones"])
    if tokenizer.labels == "phones":
        _refuse_too_few_classes(context, pack)
    train, valid = (
        within(labelled(records_of(context.corpus, *names), tokenizer.labels, pack), max_s=settings["max_s"])
        for names in (settings["files"], ("speech.valid",))
    )
    valid = valid[: settings["num_valid"]]
    batches = SpeechBatches(
        context.corpus,
        train,
        batch_s=settings["batch_s"],
        num_batches=settings["optim"]["steps"],
        seed=context.seed,
        start=context.start,
        perturbation=Perturbation(**settings["perturbation"]),
        sample_rate=rate,
    )
    check = SpeechBatches(
        context.corpus,
        valid,
        batch_s=VALID_BATCH_S,
        num_batches=_one_pass(valid, VALID_BATCH_S),
        seed=0,
        sample_rate=rate,
    )

    def finish() -> dict[str, Component]:
        context.settle(tokenizer)
        if tokenizer.is_fitted_afterwards:
            num_batches = min(_one_pass(train, 60.0), int(FITTED_S // 60))
            heard = SpeechBatches(
                context.corpus, train, batch_s=60.0, num_batches=num_batches, seed=context.seed, sample_rate=rate
            )
            recordings = (move(heard[i].audio, tokenizer.device) for i in range(len(heard)))
            tokenizer.fit_units(recordings, torch.Generator().manual_seed(context.seed))
            context.settle(tokenizer)
        name_after_weights(tokenizer, "vocab_id", "tokenizer")
        return {"tokenizer": tokenizer}

    return Job(TokenizerStage(tokenizer, Optim(**settings["optim"]), context.seed), batches, check, finish)


def _refuse_too_few_classes(context: Context, pack: LanguagePack) -> None:
    classes = context.plan.parameters["tokenizer"].get("num_phones")
    if classes is not None and classes < len(pack.phones):
        raise OmnikitError(
            f"The tokenizer tells {classes} phones apart, the language pack '{pack.name}' has {len(pack.phones)}.\n"
            f"Set tokenizer.num_phones={len(pack.phones)}, or name another pack (phones of the stage's recipe)."
        )


def labelled(
    records: Sequence[Mapping[str, Any]], labels: LabelKind, pack: LanguagePack
) -> list[tuple[str, float, list[int]]]:
    """(path, duration, class indices) of every recording that has the labels; phones of a text where it has none."""
    if labels == "phones":
        return phone_items(records, pack.index, pack.phonemise)
    return character_items(records) if labels == "characters" else audio_items(records)


def detokenizer_job(context: Context) -> Job:
    """Adversarial training on canonical units → styled speech; afterwards the style module is fitted to its space.

    That space is the voice's own, named after its weights, or that of a style module which hears recordings by itself.
    """
    settings = context.settings
    detokenizer = cast(Detokenizer, context.parts["detokenizer"])
    style = cast(StyleModule, context.parts["style"])
    tokenizer = cast(SpeechTokenizer, context.parts["tokenizer"])
    units = context.plan.contracts["tokenizer"].gives["units"]
    files = ("voice.train", "voice.valid")
    store = extract_units(tokenizer, context.corpus, audio_of(records_of(context.corpus, *files)))
    train, valid = (list(voice_items(records_of(context.corpus, name))) for name in files)
    told = told_styles(context, [item.target for item in (*train, *valid)])
    batches, check = (
        VoiceBatches(
            context.corpus,
            items,
            store,
            unit_rate=float(units.rate) if units.layout == "frame" else None,
            sample_rate=detokenizer.sample_rate,
            hop_size=detokenizer.hop_size,
            batch_s=settings["batch_s"],
            num_batches=num_batches,
            seed=context.seed,
            start=start,
            told=told,
        )
        for items, num_batches, start in (
            (train, settings["optim"]["steps"], context.start),
            (valid, settings["num_valid_batches"], 0),
        )
    )
    module = DetokenizerStage(
        detokenizer,
        Optim(**settings["optim"]),
        units=units,
        seed=context.seed,
        average_keep=settings["average_keep"],
        factors=labels_of(train) if told is None else None,
        style_weight=settings["style_weight"],
        **settings["adversary"],
    )

    def finish() -> dict[str, Component]:
        module.settle()
        context.settle(detokenizer)
        if told is not None:
            style.fit(*examples_of(told, train), told.space_id)
            context.settle(style)
        elif takes_style(context.plan):
            space = name_after_weights(detokenizer, "style_space", id_of(type(detokenizer)).split("/")[1])
            heard = labelled_vectors(detokenizer, context.corpus)
            style.fit(heard.vectors, heard.labels, space)
            context.settle(style)
        return {"detokenizer": detokenizer, "style": style}

    return Job(module, batches, check, finish, callbacks=_listening(context, check, valid))


def labels_of(items: Sequence[VoiceItem]) -> dict[str, list[str]]:
    """The values that every style factor of `items` takes."""
    names = sorted({name for item in items for name in item.style})
    return {name: sorted({item.style[name] for item in items if name in item.style}) for name in names}


def _listening(context: Context, batches: VoiceBatches, items: Sequence[VoiceItem]) -> list[Listening]:
    """What makes a few of `items`, evenly spaced, heard while a detokenizer trains; none where none are wanted."""
    media = context.settings["media"]
    count = min(media["num_items"], len(items))
    if not count:
        return []
    if media["num_kept"] < 1:
        raise OmnikitError("media.num_kept counts the steps whose media stay: 1 or more. media.num_items=0 makes none.")
    chosen = [items[len(items) * place // count] for place in range(count)]
    port = context.plan.contracts["detokenizer"].needs.get("style")
    space_id = getattr(port, "space_id", None)
    return [Listening(batches, chosen, context.folder / "media", media["num_kept"], space_id)]


def _one_pass(items: Sequence[tuple[str, float, Any]], batch_s: float) -> int:
    """Batches that cover about all items once."""
    return max(1, round(sum(item[1] for item in items) / batch_s))
