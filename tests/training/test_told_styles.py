"""Stage `detokenizer` in whose space: that of a style module which hears recordings, or the voice's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from detokenizers.small_uvits import SMALL
from omnikit import registry
from omnikit.contracts import AudioPort, Contract, StylePort
from omnikit.data.units import UnitStore
from omnikit.errors import ContractError, MediaError, OmnikitError
from omnikit.nn.style_encoder import StyleEncoder
from omnikit.slots.style import StyleModule, reference_waves
from omnikit.training.job import Context, Job
from omnikit.training.speech_jobs import detokenizer_job
from omnikit.types import Audio, Labels, Style, StyleSource, Units
from omnikit.wiring import Node, Wire, negotiate

HIGH, LOW = torch.eye(4)[:2]
RATE = 8_000
"""Another one than the corpus and the voice have."""


class OneVoice(StyleModule):
    """No factors, and no ear: the mean of what it is fitted on."""

    average: Tensor

    def __init__(self, space_id: str = "nowhere") -> None:
        super().__init__()
        self.space_id = space_id
        self.register_buffer("average", torch.zeros(4))

    @classmethod
    def contract(cls, space_id: Any) -> Contract:
        return Contract(
            needs={"audio": AudioPort(sample_rate=RATE)},
            gives={"style": StylePort(view="vector", dim=4, space_id=space_id)},
        )

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        return {}

    def from_labels(self, labels: Sequence[Labels], source: StyleSource = "user") -> Style:
        return Style(vector=self.average.expand(len(labels), -1), space_id=self.space_id, source=source)

    def fit(self, vectors: Tensor, labels: Sequence[Labels], space_id: str) -> None:
        self.average.copy_(vectors.mean(0))
        self.space_id = self.parameters_given["space_id"] = space_id


class Planted(OneVoice):
    """Hears whether a tone is high, and says so by one of two vectors."""

    views = frozenset({"audio"})

    def from_audio(self, audio: Audio, source: StyleSource = "user") -> Style:
        turns = [float((wave[1:] * wave[:-1] < 0).float().mean()) for wave in reference_waves(audio, RATE, 100)]
        vectors = torch.stack([HIGH if share > 0.1 else LOW for share in turns])
        return Style(vector=self.turned(vectors), space_id=self.space_id, source=source)

    def turned(self, vectors: Tensor) -> Tensor:
        return vectors


class Learned(Planted):
    """The same by way of a weight, which may be trained or not."""

    def __init__(self, space_id: str = "nowhere") -> None:
        super().__init__(space_id)
        self.turn = nn.Linear(4, 4, bias=False)

    def turned(self, vectors: Tensor) -> Tensor:
        return self.turn(vectors)


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, cls in (("one_voice", OneVoice), ("planted", Planted), ("learned", Learned)):
        monkeypatch.setitem(registry._registered, f"style/{name}", cls)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two low tones and a high one to learn, one high tone to be validated on, and the units of all."""
    units = {}
    for number, (name, hz) in enumerate((("train", 200), ("train", 1000), ("train", 200), ("valid", 1000))):
        for end, pitch in (("c", 150), ("s", hz)):
            wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(4_800) / 16_000)
            soundfile.write(tmp_path / f"{number}{end}.wav", wave, 16_000)
        units[f"{number}c.wav"] = np.full((1, 7), number)
        source, target = (
            {"path": f"{number}{end}.wav", "sample_rate": 16_000, "duration_s": 0.3, "phones": [["ah", 0.0, 0.3]]}
            for end in "cs"
        )
        rendering = {"audio": target, "style": {"pitch": "high" if hz > 500 else "low"}}
        message = {"role": "assistant", "text": "a", "audio": source, "rendering": rendering}
        record = {"id": str(number), "task": "voice", "split": name, "origin": "tones", "messages": [message]}
        with (tmp_path / f"voice.{name}.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
    UnitStore(tmp_path, "units-1").add(units)
    return tmp_path


DERIVED = ("codebooks", "unit_rate", "vocab_id", "style_dim", "style_space")
SIZES = {name: value for name, value in SMALL.items() if name not in DERIVED} | {
    "layout": "frame",
    "head": "istft",
    "discriminator": {
        "scale_channels": [4, 4, 4, 4, 4, 4],
        "scale_groups": [1, 1, 1, 1, 1, 1],
        "period_channels": [4, 4, 4],
        "periods": [2, 3],
    },
}
SETTINGS = {
    "batch_s": 1.0,
    "num_valid_batches": 1,
    "average_keep": 0.5,
    "style_weight": 1.0,
    "optim": {"lr": 1e-3, "steps": 2},
    "adversary": {"start": 9},
    "media": {"num_items": 1, "num_kept": 1},
}


def context_of(corpus: Path, style: str, *, trained: bool = True, **parameters: Any) -> Context:
    """The stage on a style module; `reference` has its space from the voice, which states it."""
    known = {"style_dim": 4, "style_space": "uvits-1"} if style == "reference" else {}
    nodes = {
        "tokenizer": Node("tokenizer/spiral_fsq", {"levels": [4, 4], "vocab_id": "units-1", "reduced": False}),
        "style": Node(f"style/{style}", parameters),
        "detokenizer": Node("detokenizer/uvits", {**SIZES, **known}),
    }
    wires = [Wire.parse(f"{end} -> detokenizer.{end.split('.')[1]}") for end in ("tokenizer.units", "style.style")]
    plan = negotiate(nodes, wires)
    torch.manual_seed(0)
    built = ("style", "detokenizer")
    parts: dict[str, Any] = {slot: registry.create(nodes[slot].component, **plan.parameters[slot]) for slot in built}
    parts["tokenizer"] = SimpleNamespace(vocab_id="units-1")  # whose units are in the store
    parts["style"].requires_grad_(False)
    weights = {"style": corpus} if trained else {}
    return Context({"stage": {"half": True}}, SETTINGS, plan, parts, weights, corpus, corpus / "run", 0, 0)


def trained(job: Job, folder: Path) -> dict[str, Any]:
    trainer = lightning.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(job.callbacks),
    )
    loaders = [DataLoader(data, batch_size=None) for data in (job.train, job.valid)]  # type: ignore[arg-type]
    trainer.fit(job.module, *loaders)
    return {**job.finish(), "said": set(trainer.callback_metrics)}


def test_a_voice_learns_the_space_of_a_module_that_hears(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise AssertionError("the voice's own encoder was run")

    monkeypatch.setattr(StyleEncoder, "forward", run)
    context = context_of(corpus, "planted", space_id="planted-1")
    job = detokenizer_job(context)
    batch, valid = job.train[0], job.valid[0]  # type: ignore[index]
    assert sorted(batch.told.vector.tolist()) == sorted(torch.stack([HIGH, LOW, LOW]).tolist())
    assert [row["pitch"] == "high" for row in batch.styles] == (batch.told.vector[:, 0] == 1).tolist()
    assert valid.told.vector.tolist() == [HIGH.tolist()]
    done = trained(job, corpus)
    voice, style = done["detokenizer"], done["style"]
    assert "valid_mel" in done["said"] and "style" not in done["said"]
    assert list((corpus / "run" / "media").rglob("0_made.wav"))
    said = voice.contract(**voice.parameters_given).needs["style"]
    assert said.space_id == style.space_id == "planted-1"
    torch.testing.assert_close(style.average, (HIGH + 2 * LOW) / 3, atol=1e-3, rtol=0)
    assert not any(value.any() for name, value in voice.state_dict().items() if name.startswith("enc_r"))
    units = Units(torch.zeros(1, 1, 4, dtype=torch.long), torch.tensor([4]), (16,), Fraction(25), "units-1", "frame")
    high = Style(vector=HIGH[None], space_id="planted-1")
    assert voice.decode(units, high, torch.Generator()).wave.isfinite().all()
    with pytest.raises(ContractError, match="'uvits-1', the detokenizer takes 'planted-1'"):
        voice.decode(units, Style(vector=HIGH[None], space_id="uvits-1"), torch.Generator())


def test_what_an_untrained_module_hears_is_named_after_its_weights(
    corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = []
    for seed in (1, 1, 2):
        context = context_of(corpus, "learned", trained=False)
        nn.init.normal_(context.parts["style"].turn.weight, generator=torch.Generator().manual_seed(seed))
        told = detokenizer_job(context).train.told  # type: ignore[attr-defined]
        shipped = context.parts["style"].turn.weight.half().float()  # vectors are those of the numbers in the file
        np.testing.assert_allclose(told.vectors["0s.wav"], (shipped @ LOW).detach().numpy(), rtol=1e-6)
        named.append(told.space_id)
        assert context.parts["detokenizer"].style_space == context.parts["style"].space_id == told.space_id
    assert named[0] == named[1] != named[2] and named[0].startswith("untrained-learned-")
    assert "no trained weights" in caplog.text
    told = detokenizer_job(context_of(corpus, "learned", space_id="learned-1")).train.told  # type: ignore[attr-defined]
    assert told.space_id == "learned-1"


def test_a_space_that_the_voice_learns_is_named_after_its_weights(corpus: Path) -> None:
    done = trained(detokenizer_job(context_of(corpus, "one_voice", space_id="planted-1")), corpus)
    voice, style = done["detokenizer"], done["style"]
    assert voice.style_space == style.space_id and voice.style_space.startswith("uvits-")
    assert "style" in done["said"]  # its encoder is taught the labels
    paths = [corpus / f"{number}s.wav" for number in range(3)]
    wave = torch.stack([torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in paths])
    own = voice.style_vectors(Audio(wave, torch.full((3,), wave.shape[1]), 16_000))
    torch.testing.assert_close(style.average, own.mean(0), atol=2e-3, rtol=0)


def test_a_module_that_is_made_of_a_trained_voice_comes_after_it(corpus: Path) -> None:
    with pytest.raises(OmnikitError, match="this voice is still to be trained"):
        detokenizer_job(context_of(corpus, "reference", trained=False))


def test_a_recording_without_a_style_is_named(corpus: Path) -> None:
    soundfile.write(corpus / "1s.wav", np.zeros(4_800), 16_000)
    with pytest.raises(MediaError, match=r"1s\.wav"):
        detokenizer_job(context_of(corpus, "planted"))
    soundfile.write(corpus / "1s.wav", 0.1 * np.ones(150), 16_000)
    with pytest.raises(MediaError, match=r"1s\.wav.*at least 100"):
        detokenizer_job(context_of(corpus, "planted"))
