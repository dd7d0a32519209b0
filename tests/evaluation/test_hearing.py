"""What is heard for probing: one row an utterance, each codebook alone, texts apart, voices evenly."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnikit.contracts import AudioPort, Contract, UnitsPort
from omnikit.errors import DataError
from omnikit.evaluation.hearing import drawn_by_voice, hear, without_texts
from omnikit.evaluation.probing import read_factors
from omnikit.evaluation.unit_figures import phonetic_figures, use_figures
from omnikit.evaluation.views import views_of
from omnikit.metrics import sequence_probes
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.system import System
from omnikit.types import Audio, Frames, Losses, Units


class TwoBooks(SpeechTokenizer):
    """Loudness and sign changes of blocks of 40 ms in two codebooks; offers no features."""

    vocab_id = "two-books"
    sizes = (4, 3)

    @classmethod
    def contract(cls, **_: Any) -> Contract:
        units = UnitsPort(codebooks=cls.sizes, rate=Fraction(25), layout="frame", vocab_id=cls.vocab_id)
        return Contract(needs={"audio": AudioPort(sample_rate=16_000)}, gives={"units": units})

    def encode(self, audio: Audio) -> Units:
        lengths = -(-audio.lengths // 640)
        padded = torch.nn.functional.pad(audio.wave, (0, int(lengths.max()) * 640 - audio.wave.shape[1]))
        blocks = padded.unflatten(1, (-1, 640))  # [B, T, 640]
        loud = (blocks.square().mean(-1).sqrt() * 25).long().clamp(max=3)
        turns = ((blocks[..., 1:] * blocks[..., :-1] < 0).float().mean(-1) * 12).long().clamp(max=2)
        valid = torch.arange(loud.shape[1]) < lengths[:, None]
        codes = torch.stack([loud, turns], 1) * valid[:, None]  # [B, K, T]
        return Units(codes, lengths, self.sizes, Fraction(25), self.vocab_id)

    def embed(self, units: Units) -> Frames:
        return Frames(units.codes.transpose(1, 2).float() @ torch.tensor([[1.0, 0.0], [0.5, 2.0]]), units.lengths)

    def loss(self, audio: Audio, phones: torch.Tensor, phone_lengths: torch.Tensor) -> Losses:
        raise NotImplementedError

    def read_phones(self, audio: Audio) -> list[list[int]]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def two_books(random_system: System) -> System:
    return System(random_system.plan, {"tokenizer": TwoBooks()})


def test_every_codebook_is_seen_alone_and_a_tokenizer_without_features_is_no_problem(
    two_books: System, larger_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence_probes, "STEPS", 3)
    records = drawn_by_voice(larger_corpus, ["speech.train"], 20, 0)
    train, test = hear(two_books, larger_corpus, records[:12]), hear(two_books, larger_corpus, records[12:])
    first = train[0]
    assert first.features is None
    assert first.codes.shape == (2, len(first.vectors))
    assert np.allclose(first.book_vectors[0], first.codes[0][:, None] * [1.0, 0.0])
    assert np.allclose(first.book_vectors[1], first.codes[1][:, None] * [0.5, 2.0])
    views = views_of(train, test)
    assert [view.name for view in views] == ["units", "codebook 1", "codebook 2", "run lengths", "log-mels"]
    phones = {(item.view, item.reader) for item in read_factors(train, test, views, 0) if item.factor == "phone"}
    assert phones >= {("codebook 1", "unit table"), ("codebook 2", "linear"), ("units", "sequence")}
    names = [figure.name for figure in (*use_figures(test), *phonetic_figures(test))]
    assert {"PNMI, codebook 1", "PNMI, codebook 2", "bit rate, run lengths"} <= set(names)
    nominal = next(figure for figure in use_figures(test) if figure.name == "bit rate, nominal")
    assert nominal.value == pytest.approx(25 * np.log2(12))


def test_one_utterance_is_heard_the_same_alone(random_system: System, larger_corpus: Path) -> None:
    records = drawn_by_voice(larger_corpus, ["speech.train"], 3, 0)
    together, alone = (
        hear(random_system, larger_corpus, records)[1],
        hear(random_system, larger_corpus, records[1:2])[0],
    )
    assert np.array_equal(together.codes, alone.codes)
    assert together.features is not None
    assert alone.features is not None
    assert np.allclose(together.features, alone.features, atol=1e-4)
    assert np.allclose(together.mels, alone.mels, atol=1e-4)
    assert abs(len(alone.mels) - alone.codes.shape[1]) <= 1


def test_voices_take_turns(larger_corpus: Path) -> None:
    records = drawn_by_voice(larger_corpus, ["speech.train", "speech.test"], 20, 0)
    voices = Counter(record["messages"][0]["audio"]["voice"] for record in records)
    assert len({record["id"] for record in records}) == 20
    everyone = drawn_by_voice(larger_corpus, ["speech.train", "speech.test"], 10_000, 0)
    deepest = Counter(record["messages"][0]["audio"]["voice"] for record in everyone)
    assert all(voices[name] >= min(count, max(voices.values()) - 1) for name, count in deepest.items())
    assert records != drawn_by_voice(larger_corpus, ["speech.train", "speech.test"], 20, 1)


def test_no_text_is_in_both(larger_corpus: Path) -> None:
    records = drawn_by_voice(larger_corpus, ["speech.train"], 10, 0)
    said = {
        **records[0],
        "messages": [{**records[0]["messages"][0], "text": records[0]["messages"][0]["text"].upper()}],
    }
    kept = without_texts(records, [said])
    assert records[0] not in kept
    assert len(kept) >= 8


def test_records_that_cannot_be_probed_are_named(two_books: System, larger_corpus: Path) -> None:
    record = drawn_by_voice(larger_corpus, ["caption.train"], 1, 0)
    with pytest.raises(DataError, match="cannot be probed"):
        hear(two_books, larger_corpus, record)
