"""The fresh piece of corpus: voices and texts that no training heard, and the same piece for the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnikit.data.texts import split_of_text
from omnikit.data.voices import voice_named
from omnikit.serving.demo import Asked
from omnikit.serving.piece import SPLIT_SEED, Piece, make_piece


def make(folder: Path, seed: int) -> Piece:
    return make_piece(folder, seed, num_questions=3, num_utterances=3, num_lessons=3, progress=lambda done, total: None)


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> Piece:
    return make(tmp_path_factory.mktemp("piece"), 4)


def test_questions_and_utterances_are_by_held_out_voices_with_held_out_texts(piece: Piece) -> None:
    for record in (*piece.questions, *piece.utterances):
        assert voice_named(record["messages"][0]["audio"]["voice"]).held_out
        assert all(split_of_text(message["text"], SPLIT_SEED) == "test" for message in record["messages"])
    assert piece.voices
    assert all(voice_named(name).held_out for name in piece.voices)


def test_lessons_are_by_training_voices_with_training_texts(piece: Piece) -> None:
    for record in piece.lessons:
        assert not voice_named(record["messages"][0]["audio"]["voice"]).held_out
        assert split_of_text(record["messages"][0]["text"], SPLIT_SEED) == "train"


def test_media_are_there_and_long_enough(piece: Piece) -> None:
    assert piece.seconds > 9
    for record in piece.questions:
        asked = Asked.from_record(piece.folder, record)
        assert asked.image.is_file()
        assert asked.audio.is_file()
        assert set(asked.style) == {"emotion", "speed", "pitch"}


def test_the_seed_decides_the_piece(piece: Piece, tmp_path: Path) -> None:
    again, other = make(tmp_path / "again", 4), make(tmp_path / "other", 5)
    assert again.questions == piece.questions
    assert again.lessons == piece.lessons
    assert other.questions != piece.questions


def test_progress_counts_every_record(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    make_piece(tmp_path, 0, num_questions=1, num_utterances=2, num_lessons=0, progress=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]
