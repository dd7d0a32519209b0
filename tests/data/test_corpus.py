"""Whole corpora: same bytes however they are made, taken up after an interruption, and no leak between the splits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from omnikit.data import corpus as making
from omnikit.data.corpus import FILES, CorpusSummary, content_hash, make_corpus, read_summary, record_counts
from omnikit.data.phones import PHONES
from omnikit.data.prosody import FACTORS, HELD_OUT_STYLES
from omnikit.data.questions import KINDS
from omnikit.data.records import SCHEMA_PATH, read_records
from omnikit.data.scenes import CELLS, COLORS, HELD_OUT_PAIRS, SHAPES, SIZES
from omnikit.data.texts import normalise_text, split_of_text
from omnikit.data.voices import CANONICAL_VOICE, TARGET_VOICES, VOICES
from omnikit.errors import DataError

HOURS, SEED = 0.05, 7


def records_of(summary: CorpusSummary, name: str) -> list[dict[str, Any]]:
    return list(read_records(summary.folder / f"{name}.jsonl"))


def all_audio(record: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, str]]]:
    found = []
    for message in record["messages"]:
        for holder in (message, message.get("rendering", {})):
            if "audio" in holder:
                found.append((holder["audio"], holder.get("style", {})))
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_processes_give_the_same_bytes(corpus: CorpusSummary, tmp_path: Path) -> None:
    other = make_corpus(tmp_path / "two", HOURS, SEED, processes=2)
    assert other.content_sha256 == corpus.content_sha256
    assert files_of(other.folder) == files_of(corpus.folder)


def test_another_seed_gives_another_corpus(corpus: CorpusSummary, tmp_path: Path) -> None:
    other = make_corpus(tmp_path / "other", 0.01, SEED + 1, processes=1)
    one = {record["messages"][0]["text"] for record in records_of(corpus, "speech.train")}
    assert not one & {record["messages"][0]["text"] for record in records_of(other, "speech.train")}


def test_an_interrupted_run_is_taken_up(corpus: CorpusSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make_record = making.make_record

    def stop_after_50(studio: Any, job: Any) -> dict[str, Any]:
        if len(made) == 50:
            raise KeyboardInterrupt
        made.append(job.id)
        return make_record(studio, job)

    monkeypatch.setattr(making, "make_record", stop_after_50)
    with pytest.raises(KeyboardInterrupt):
        make_corpus(tmp_path / "cut", HOURS, SEED, processes=1)
    assert not list((tmp_path / "cut").glob("*.json*")), "an unfinished corpus must not look finished"
    with pytest.raises(DataError, match="no finished corpus"):
        read_summary(tmp_path / "cut")

    again: list[str] = []

    def count(studio: Any, job: Any) -> dict[str, Any]:
        again.append(job.id)
        return make_record(studio, job)

    monkeypatch.setattr(making, "make_record", count)
    seen: list[tuple[int, int]] = []
    summary = make_corpus(tmp_path / "cut", HOURS, SEED, processes=1, progress=lambda *done: seen.append(done))
    finished_before = {f"speech.train.{index:06d}" for index in range(record_counts(HOURS)["speech.train"])} & set(made)
    assert finished_before and not finished_before & set(again), "a finished shard was made once more"
    assert seen[-1] == (sum(record_counts(HOURS).values()),) * 2
    assert files_of(summary.folder) == files_of(corpus.folder)


def test_a_finished_corpus_is_returned_and_others_are_refused(corpus: CorpusSummary, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.folder.rglob("*")}
    assert make_corpus(corpus.folder, HOURS, SEED, processes=1) == corpus
    assert {path: path.stat().st_mtime_ns for path in corpus.folder.rglob("*")} == before
    with pytest.raises(DataError, match=r"seed = 7(.|\n)*seed = 8"):
        make_corpus(corpus.folder, HOURS, SEED + 1)
    with pytest.raises(DataError, match="hours"):
        make_corpus(corpus.folder, 0.06, SEED)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        make_corpus(tmp_path, HOURS, SEED)
    with pytest.raises(DataError, match="more than 0"):
        make_corpus(tmp_path / "new", float("nan"), SEED)
    with pytest.raises(DataError, match="at least 1"):
        make_corpus(tmp_path / "new", HOURS, SEED, processes=0)
    assert not (tmp_path / "new").exists()


def test_no_text_is_in_two_splits(corpus: CorpusSummary) -> None:
    group_of: dict[str, set[str]] = {}
    for name in FILES:
        for record in records_of(corpus, name):
            group = record["split"].split("_")[0]
            for message in record["messages"]:
                if "text" in message:
                    group_of.setdefault(normalise_text(message["text"]), set()).add(group)
                    assert split_of_text(message["text"], SEED) == group
    assert len(group_of) > 100
    assert [text for text, groups in group_of.items() if len(groups) > 1] == []


def test_held_out_voices_styles_and_pairs_stay_out(corpus: CorpusSummary) -> None:
    for name in FILES:
        for record in records_of(corpus, name):
            for audio, style in all_audio(record):
                voice = VOICES[audio["voice"]]
                spoken_to = record["split"] == "test_voice" and voice.name != CANONICAL_VOICE
                assert voice.held_out == spoken_to, name
                if set(style) == set(FACTORS):
                    held_out = tuple(style[factor] for factor in FACTORS) in HELD_OUT_STYLES
                    styled = record["split"] == "test_style" and voice.name != CANONICAL_VOICE
                    assert held_out == styled, name
                    assert style["gender"] == voice.gender
            pairs = {(item["color"], item["shape"]) for item in record.get("scene", {}).get("objects", ())}
            assert bool(pairs & HELD_OUT_PAIRS) == (record["split"] == "test_scene"), name


def test_records_hold_what_their_task_needs(corpus: CorpusSummary) -> None:
    for name, count in record_counts(HOURS).items():
        assert corpus.files[name].records == count == len(records_of(corpus, name))
    for record in records_of(corpus, "voice.train"):
        (message,) = record["messages"]
        canonical, styled = message["audio"], message["rendering"]["audio"]
        assert canonical["voice"] == CANONICAL_VOICE
        assert styled["voice"] == TARGET_VOICES[message["rendering"]["style"]["gender"]]
        assert [phone[0] for phone in canonical["phones"]] == [phone[0] for phone in styled["phones"]]
    for record in records_of(corpus, "vqa.train"):
        user, reply = record["messages"]
        assert "audio" not in user and "audio" not in reply
        assert (corpus.folder / user["image"]["path"]).is_file() and set(reply["style"]) == {
            "emotion",
            "speed",
            "pitch",
        }
    turns = set()
    for record in records_of(corpus, "dialogue.train"):
        roles = [message["role"] for message in record["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert [("image" in message) for message in record["messages"]] == [True] + [False] * (len(roles) - 1)
        assert all(message["audio"]["voice"] == CANONICAL_VOICE for message in record["messages"][1::2])
        assert all(set(message["style"]) == {"emotion", "speed", "pitch"} for message in record["messages"][1::2])
        turns.add(len(roles) // 2)
    assert turns == {1, 2}


def test_the_schema_names_what_the_code_knows() -> None:
    definitions = json.loads(SCHEMA_PATH.read_text())["$defs"]
    style = definitions["style"]["properties"]
    assert {factor: tuple(style[factor]["enum"]) for factor in style} == FACTORS
    assert tuple(definitions["audio"]["properties"]["phones"]["items"]["prefixItems"][0]["enum"]) == PHONES
    items = definitions["scene"]["properties"]["objects"]["items"]["properties"]
    assert [tuple(items[key]["enum"]) for key in ("cell", "shape", "color", "size")] == [
        CELLS,
        SHAPES,
        tuple(COLORS),
        SIZES,
    ]
    turns = definitions["scene"]["properties"]["turns"]["items"]["properties"]
    assert tuple(turns["kind"]["enum"]) == KINDS


def test_the_hash_sees_every_byte(corpus: CorpusSummary, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(corpus.folder, copy)
    assert content_hash(copy) == corpus.content_sha256 == read_summary(copy).content_sha256
    image = next((copy / "images").iterdir())
    image.write_bytes(image.read_bytes() + b"x")
    assert content_hash(copy) != corpus.content_sha256
