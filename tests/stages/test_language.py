"""Stages `prealign`, `align` and `sft`."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from omnikit.backbones.hf_causal import HFCausal
from omnikit.data.language_batches import LanguageBatch, LanguageSample, UserInput
from omnikit.errors import OmnikitError, UnknownName
from omnikit.formats.json import JsonFormat
from omnikit.projectors.mlp import MLPProjector
from omnikit.slots.backbone import Segment
from omnikit.stages.language import LanguageStage, prompt_of, sequence_of, texts_of
from omnikit.stages.optim import Optim
from omnikit.types import Images, Losses
from omnikit.vision_encoders.timm import TimmEncoder

OPTIM = Optim(lr=3e-3, steps=200, warmup_steps=10, betas=(0.9, 0.95), weight_decay=0.0)
WORDS = ["the", "red", "blue", "star", "heart", "is", "small", "big", "in", "top", "left", "corner", "one", "two"]
FACTORS = {"emotion": ("neutral", "sad", "happy"), "pitch": ("normal", "low"), "speed": ("normal", "fast")}


def dialogue(rng: random.Random, number: int) -> LanguageSample:
    def words() -> str:
        return " ".join(rng.choice(WORDS) for _ in range(5))

    def units() -> tuple[tuple[int, ...], ...]:
        return (tuple(rng.randrange(256) for _ in range(rng.randint(10, 16))),)

    style = {name: rng.choice(values) for name, values in FACTORS.items()}
    user = UserInput((f"{number}.png",), units=units())
    return LanguageSample("dialogue", user, words(), heard=words(), style=style, units=units())


def make(rates: dict[str, float], seed: int = 0, width: int = 96) -> LanguageStage:
    torch.manual_seed(seed)
    units: dict[str, Any] = {"codebooks": [256], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
    backbone = HFCausal(hidden=width, layers=2, heads=2, kv_heads=1, intermediate=192, max_positions=256, **units)
    backbone.fit_text(
        [" ".join(WORDS), '{"heard":"", "reply":"", "emotion":"", "pitch":"", "speed":"", "units":""}'] * 4, 320
    )
    encoder = TimmEncoder(image_size=32, dim=32, depth=1, heads=1)
    stage = LanguageStage(encoder, MLPProjector(in_dim=32, out_dim=width), backbone, JsonFormat(), OPTIM, rates)
    stage.log = stage.log_dict = lambda *_, **__: None
    return stage.train()


def batch_of(samples: list[LanguageSample]) -> LanguageBatch:
    paths = tuple(dict.fromkeys(path for sample in samples for path in sample.images))
    pixels = torch.rand(len(paths), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return LanguageBatch(tuple(samples), paths, Images(pixels))


EIGHT = [dialogue(random.Random(number), number) for number in range(8)]
MIXED = [
    LanguageSample("caption", UserInput(("a.png",)), "a red star"),
    LanguageSample("asr", UserInput(units=((1, 2, 3),)), "the red star in the corner"),
    LanguageSample("tts", UserInput(text="big"), "big", units=((4, 5),)),
    LanguageSample("caption", UserInput(("b.png",)), "a blue heart is in the top left"),
]


def written_of(stage: LanguageStage, sample: LanguageSample) -> list[Segment]:
    return sequence_of(sample, features(stage, batch_of([sample])), stage.format, stage.backbone)


def spell(stage: LanguageStage, sample: LanguageSample) -> str:
    """The text that the stage teaches for a sample."""
    target = [item for item in written_of(stage, sample) if item.train]
    return "".join(item.text or (stage.backbone.unit_text(item.units) if item.units else "") for item in target)


@torch.no_grad()
def features(stage: LanguageStage, batch: LanguageBatch) -> dict[str, Tensor]:
    return stage.see(batch)


def test_eight_random_dialogues_are_learnt_by_heart_and_written_again() -> None:
    stage = make({"backbone": 3e-3, "projector": 3e-3})
    stage.backbone.init_unit_embeddings(torch.randn(256, 4), torch.Generator().manual_seed(0))
    built = stage.configure_optimizers()
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    batch = batch_of(EIGHT)
    steps = 0
    loss = torch.tensor(9.0)
    while loss > 0.01 and steps < 200:
        optimizer.zero_grad()
        loss = stage.training_step(batch, steps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        steps += 1
    assert loss < 0.05
    stage.eval()
    seen = features(stage, batch)
    prompts = [prompt_of(sample, seen, stage.format) for sample in EIGHT]
    written = stage.backbone.generate(prompts, generator=torch.Generator(), max_new_tokens=120)
    for sample, row in zip(EIGHT, written, strict=True):
        turn = stage.format.parse("dialogue", row.text, stage.backbone)
        assert row.finished and turn.parse_ok
        assert row.text == spell(stage, sample)
        assert (turn.text, turn.user_text, dict(turn.style.labels[0])) == (sample.text, sample.heard, sample.style)
        assert tuple(map(tuple, turn.units.codes[0].tolist())) == sample.units


def test_the_loss_is_the_mean_over_all_trained_tokens_of_all_tasks() -> None:
    stage = make({"backbone": 1e-3}).eval()
    losses = stage.losses(batch_of(MIXED))
    seen = stage.see(batch_of(MIXED))
    each = [stage.backbone.loss([sequence_of(sample, seen, stage.format, stage.backbone)]) for sample in MIXED]
    tokens = torch.stack([one.parts["tokens"][0] for one in each])
    total = (torch.stack([one.total for one in each]) * tokens).sum() / tokens.sum()
    torch.testing.assert_close(losses.total, total)
    assert list(losses.parts) == ["caption", "asr", "tts"]
    torch.testing.assert_close(losses.parts["asr"], each[1].total.detach())


@pytest.mark.parametrize(
    "rates",
    [
        {"projector": 1e-3},
        {"projector": 1e-3, "backbone": 1e-4},
        {"vision_encoder": 1e-5, "projector": 1e-3, "backbone": 1e-4},
    ],
)
def test_only_the_named_parts_learn_each_at_its_rate(rates: dict[str, float]) -> None:
    stage = make(rates)
    before = {name: value.clone() for name, value in stage.named_parameters()}
    optimizer = stage.configure_optimizers()["optimizer"]
    assert {group["name"]: group["initial_lr"] for group in optimizer.param_groups} == rates
    stage.training_step(batch_of(MIXED), 0).backward()
    optimizer.step()
    changed = {name.split(".")[0] for name, value in stage.named_parameters() if not torch.equal(value, before[name])}
    assert changed == set(rates)
    assert {name for name in ("vision_encoder", "projector", "backbone") if getattr(stage, name).training} == set(rates)


def test_a_batch_without_pictures_runs_no_vision_encoder() -> None:
    stage = make({"backbone": 1e-3})
    stage.vision_encoder.encode = None
    assert stage.training_step(batch_of(MIXED[1:3]), 0).isfinite()


def test_earlier_turns_are_read_and_not_trained() -> None:
    stage = make({"backbone": 1e-3}).eval()
    later = LanguageSample("dialogue", UserInput(text="two"), "one", history=((UserInput(("a.png",)), "a star"),))
    alone = LanguageSample("dialogue", UserInput(text="two"), "one")
    seen = features(stage, batch_of([later]))
    with_past, without = (
        stage.backbone.loss([sequence_of(sample, seen, stage.format, stage.backbone)]) for sample in (later, alone)
    )
    assert with_past.parts["tokens"].tolist() == without.parts["tokens"].tolist()
    assert with_past.total != without.total


def test_positions_are_counted_without_reading_pictures() -> None:
    stage = make({"backbone": 1e-3})
    for sample in (*MIXED, EIGHT[0]):
        assert stage.count(sample) == stage.backbone.count_tokens(written_of(stage, sample))


def test_the_text_vocabulary_fits_what_is_written() -> None:
    stage = make({"backbone": 1e-3})
    texts = list(texts_of([*EIGHT, *MIXED], stage.format, stage.backbone))
    assert "a red star" in texts and "big" in texts and '"}' in texts
    before = [stage.count(sample) for sample in EIGHT]
    stage.backbone.fit_text(texts, 400)
    assert all(now < then - 10 for now, then in zip([stage.count(sample) for sample in EIGHT], before, strict=True))


def test_what_is_no_number_stops_the_run() -> None:
    stage = make({"backbone": 1e-3})
    with torch.no_grad():
        stage.backbone.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(OmnikitError, match="batch 0 is no longer finite") as caught:
        stage.training_step(batch_of(MIXED), 0)
    assert "weights: backbone.model.embed_tokens.weight" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 8


def test_a_broken_batch_is_told_from_broken_weights() -> None:
    stage = make({"backbone": 1e-3})
    losses = Losses(torch.tensor(float("inf")), {"asr": torch.tensor(float("inf")), "tts": torch.tensor(1.0)})
    with pytest.raises(OmnikitError, match=r"\(asr\)") as caught:
        stage.checked(losses)
    assert "it is this batch" in str(caught.value)


def test_rates_name_parts_that_exist() -> None:
    with pytest.raises(UnknownName, match="projector"):
        make({"projectors": 1e-3})
    with pytest.raises(OmnikitError, match="Nothing would learn"):
        make({"projector": 0.0})


class _Rows(torch.utils.data.Dataset):
    """The same mixed batch a few times."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> LanguageBatch:
        return batch_of([*MIXED, *EIGHT[:2]])


def test_it_trains_under_lightning_with_autocast(tmp_path) -> None:
    import lightning
    from torch.utils.data import DataLoader

    stage = make({"backbone": 3e-3, "projector": 3e-3})
    del stage.log, stage.log_dict
    trainer = lightning.Trainer(
        accelerator="cpu",
        precision="bf16-mixed",
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    rows = DataLoader(_Rows(), batch_size=None)
    trainer.fit(stage, rows, rows)
    logged = trainer.logged_metrics
    assert {"loss", "caption", "asr", "tts", "dialogue", "valid_loss", "valid_dialogue"} <= set(logged)
    assert all(torch.isfinite(value) for value in logged.values())
    assert stage.backbone.model.get_input_embeddings().weight.dtype == torch.float32
