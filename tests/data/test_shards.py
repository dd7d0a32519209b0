"""Shards of every form: what is read, in which order, from any place, by any number of workers; and what is broken."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from omnikit.data.language_batches import LanguageBatch, LanguageBatches, LanguageSample, language_samples
from omnikit.data.media import StoredFile, load_images, read_image_size
from omnikit.data.packing import Mixture, Shuffled
from omnikit.data.records import schema_problems
from omnikit.data.shards import find_shards, kind_and_split, read_shard
from omnikit.data.shards_stream import ShardStream
from omnikit.data.shards_write import SHARDS_FILE, write_shards
from omnikit.data.units import UnitStore, write_units
from omnikit.errors import DataError, UnknownName

NUM_RECORDS = 23


def caption(number: int, picture: str) -> dict[str, Any]:
    user = {"role": "user", "image": {"path": picture}}
    told = {"role": "assistant", "text": f"caption {number} " + "x" * (number % 7)}
    return {"id": f"c{number}", "task": "caption", "split": "train", "origin": "test", "messages": [user, told]}


def speech(number: int, path: str) -> dict[str, Any]:
    audio = {"path": path, "sample_rate": 16_000, "duration_s": 1.0}
    message = {"role": "user", "text": f"words {number}", "audio": audio}
    return {"id": f"s{number}", "task": "speech", "split": "train", "origin": "test", "messages": [message]}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "images").mkdir()
    draw = np.random.default_rng(0)
    captions, words = [], []
    for number in range(NUM_RECORDS):
        pixels = draw.integers(0, 255, (12, 10 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        captions.append(caption(number, f"images/{number}.png"))
        words.append(speech(number, f"audio/{number}.flac"))
    for name, records in (("caption", captions), ("speech", words)):
        (folder / f"{name}.train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    paths = [f"audio/{number}.flac" for number in range(NUM_RECORDS)]
    write_units(folder / "units" / "v1", paths, [np.full((2, 3), number) for number in range(NUM_RECORDS)])
    return folder


@pytest.fixture(scope="module", params=["jsonl", "tar", "parquet"])
def shards(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path_factory.mktemp(request.param)
    units = UnitStore(corpus, "v1")
    made = write_shards(corpus, out, request.param, units=units, vocab_id="v1", num_records=5)
    assert made.num_shards == 10 and made.records == {"caption.train": NUM_RECORDS, "speech.train": NUM_RECORDS}
    assert json.loads((out / SHARDS_FILE).read_text())["vocab_id"] == "v1"
    return find_shards([str(out / f"*.{request.param}")])


def of_kind(shards: list[Path], kind: str) -> list[Path]:
    return [path for path in shards if kind_and_split(path) == (kind, "train")]


def samples_of(task: str):
    def make(record: Mapping[str, Any]) -> list[LanguageSample]:
        return language_samples([record], [task], {})[task]

    return make


def length(sample: LanguageSample) -> int:
    return len(sample.text)


def stream(shards: list[Path], kind: str = "caption", limit: int = 99, window: int = 7) -> ShardStream[LanguageSample]:
    task = {"caption": "caption", "speech": "asr"}[kind]
    return ShardStream(of_kind(shards, kind), samples_of(task), length, seed=(3,), limit=limit, window=window)


def take(source: ShardStream[LanguageSample], number: int) -> list[str]:
    texts = []
    for _ in range(number):
        texts.append(source.peek().sample.text)
        source.advance()
    return texts


def test_shards_hold_the_records_of_the_corpus(shards: list[Path], corpus: Path) -> None:
    entries = [entry for path in of_kind(shards, "speech") for entry in read_shard(path)]
    assert [entry.record["id"] for entry in entries] == [f"s{number}" for number in range(NUM_RECORDS)]
    assert [entry.record["messages"][0]["units"] for entry in entries[:2]] == [[[0] * 3] * 2, [[1] * 3] * 2]
    assert not schema_problems(entries[0].record)
    (sample,) = samples_of("asr")(entries[1].record)
    assert sample.user.units == ((1, 1, 1), (1, 1, 1))
    told = [
        entry.record["messages"][0]["image"]["path"]
        for path in of_kind(shards, "caption")
        for entry in read_shard(path)
    ]
    for number in (0, 20):
        assert read_image_size(told[number]) == (12, 10 + number)
        expected = load_images([corpus / "images" / f"{number}.png"], 16).pixels
        assert load_images([told[number]], 16).pixels.equal(expected)


def test_reading_may_begin_at_any_record(shards: list[Path]) -> None:
    path = of_kind(shards, "caption")[1]
    whole = [entry.name for entry in read_shard(path)]
    assert len(whole) == 5
    for start in range(6):
        assert [entry.name for entry in read_shard(path, start)] == whole[start:]


def test_a_pass_gives_every_sample_once_and_the_next_in_another_order(shards: list[Path]) -> None:
    source = stream(shards)
    first, second = take(source, NUM_RECORDS), take(source, NUM_RECORDS)
    assert sorted(first) == sorted(second) and len(set(first)) == NUM_RECORDS and first != second


@given(left=st.integers(0, 60), window=st.integers(1, 30))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stream_goes_on_from_where_it_was_left(shards: list[Path], left: int, window: int) -> None:
    whole = take(stream(shards, window=window), left + 12)
    early, late = stream(shards, window=window), stream(shards, window=window)
    take(early, left)
    state = early.state()
    assert len(state) == 4 and all(isinstance(value, int) for value in state)
    late.restore(state)
    assert take(late, 12) == whole[left:]


def batches(shards: list[Path], start: int = 0, origin: Any = None) -> LanguageBatches:
    mixed = Mixture(
        {"caption": stream(shards), "asr": stream(shards, "speech")}, {"caption": 3.0, "asr": 1.0}, batch_tokens=50
    )
    return LanguageBatches(Path(), mixed, image_size=8, num_batches=9 - start, start=start, origin=origin)


def content(batch: LanguageBatch) -> tuple[Any, ...]:
    return batch.samples, batch.paths, batch.images.pixels.tolist(), batch.drawn, batch.state, batch.skipped


def test_workers_change_nothing(shards: list[Path]) -> None:
    alone, shared = (
        [content(batch) for batch in DataLoader(batches(shards), batch_size=None, num_workers=number)]
        for number in (0, 4)
    )
    assert alone == shared and len(alone) == 9


def test_a_run_goes_on_in_mid_pass_as_if_it_had_not_stopped(shards: list[Path]) -> None:
    whole = batches(shards)
    expected = [content(whole[index]) for index in range(9)]
    again = batches(shards, start=5, origin=(5, expected[4][4]))
    assert [content(again[index]) for index in range(4)] == expected[5:]
    late = batches(shards, start=5, origin=(3, expected[2][4]))  # a batch that was drawn and not learnt
    assert [content(late[index])[0] for index in range(4)] == [row[0] for row in expected[5:]]
    assert content(whole[0]) == expected[0]  # from the beginning, as validation does


def broken_tar(path: Path) -> None:
    good = io.BytesIO()
    Image.new("RGB", (9, 9)).save(good, "PNG")
    members = {
        "0.json": json.dumps(caption(0, "0.png")).encode(),
        "0.png": good.getvalue(),
        "1.json": json.dumps(caption(1, "1.png")).encode()[:-9],
        "1.png": good.getvalue(),
        "2.json": json.dumps(caption(2, "2.png")).encode(),
        "2.png": good.getvalue()[:20],
        "3.json": json.dumps(caption(3 + 7 * 9, "3.png") | {"messages": [{"role": "user"}]}).encode(),
        "4.txt": b"a picture with its caption\n",
        "4.jpg": good.getvalue(),
        "5.jpg": good.getvalue(),
        "6.json": json.dumps(speech(6, "6.flac")).encode(),
        "7.json": json.dumps(caption(7, "7.png") | {"messages": [*caption(7, "7.png")["messages"][:1],
                             {"role": "assistant", "text": "long " * 40}]}).encode(),
        "8.json": json.dumps(caption(8, "8.png")).encode(),
        "8.png": good.getvalue(),
    }  # fmt: skip
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"8.png") + 600])


def test_what_is_broken_is_named_and_the_rest_is_learnt(tmp_path: Path) -> None:
    path = tmp_path / "caption-0.tar"
    broken_tar(path)
    source = ShardStream([path], samples_of("caption"), length, seed=(0,), limit=99)
    mixed = Mixture({"caption": source}, {"caption": 1.0}, batch_tokens=120)
    batch = LanguageBatches(Path(), mixed, image_size=8, num_batches=1)[0]
    assert {sample.text.strip() for sample in batch.samples} == {"caption 0", "a picture with its caption"}
    assert len(batch.drawn) > len(batch.samples) >= 2
    told = {item.name: item.reason for item in batch.skipped}
    for name, why in (
        ("caption-0.tar:1", "no record"),
        ("caption-0.tar:2/2.png", "cannot be read"),
        ("caption-0.tar:5", "holds neither 5.json nor a picture with 5.txt"),
        ("caption-0.tar:7", "takes 200 positions, at most 99 fit"),
    ):
        assert any(name in key and why in reason for key, reason in told.items()), (name, why, told)
    assert any("the shard breaks off here" in reason for reason in told.values())


def test_no_sample_in_a_whole_pass_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "caption-0.jsonl").write_text('{"id": 1\n' * 3)
    source = ShardStream(find_shards([str(tmp_path / "*")]), samples_of("caption"), length, seed=(0,), limit=9)
    with pytest.raises(DataError, match=r"gave no sample.\ncaption-0.jsonl:1: no record"):
        source.peek()
    (tmp_path / "caption-0.jsonl").write_text("")
    with pytest.raises(DataError, match="hold no record"):
        ShardStream([tmp_path / "caption-0.jsonl"], samples_of("caption"), length, seed=(0,), limit=9).peek()


def test_recordings_without_units_are_named(corpus: Path, tmp_path: Path) -> None:
    write_shards(corpus, tmp_path, "jsonl", num_records=50)
    path = tmp_path / "speech.train-00000.jsonl"
    source = ShardStream([path], samples_of("asr"), length, seed=(0,), limit=9)
    with pytest.raises(DataError, match="gave no sample"):
        source.peek()


def test_shards_are_found_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no shard at"):
        find_shards([str(tmp_path / "*.tar")])
    (tmp_path / "a.zip").write_text("")
    with pytest.raises(DataError, match=r"a\.zip is no shard"):
        find_shards([str(tmp_path / "*")])
    assert kind_and_split(Path("laion-00012.tar")) == ("laion", "train")
    assert kind_and_split(Path("speech.valid-3.jsonl")) == ("speech", "valid")
    assert kind_and_split(Path("a.b.parquet")) == ("a.b", "train")


def test_writing_says_what_it_cannot_do(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="tar"):
        write_shards(corpus, tmp_path, "zip")
    with pytest.raises(DataError, match="at least 1"):
        write_shards(corpus, tmp_path, "tar", num_records=0)
    with pytest.raises(DataError, match=r"no \*\.jsonl"):
        write_shards(tmp_path, tmp_path / "out", "tar")
    (tmp_path / "x.tar").write_text("")
    with pytest.raises(DataError, match="holds shards already"):
        write_shards(corpus, tmp_path, "tar")


def test_a_file_in_a_shard_survives_its_way_to_a_worker() -> None:
    import pickle

    again = pickle.loads(pickle.dumps(StoredFile("a.tar:1/x.png", b"123")))
    assert again == "a.tar:1/x.png" and again.data == b"123"
    assert isinstance(Shuffled([again], [1], seed=(0,), limit=1).peek().sample, StoredFile)
