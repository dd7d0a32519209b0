"""Writing a corpus as shards: records with the pictures that they show, and with units in place of recordings."""

from __future__ import annotations

import copy
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from omnikit.data.corpus import write_text
from omnikit.data.records import read_records
from omnikit.data.shards import SUFFIXES
from omnikit.data.units import UnitStore
from omnikit.errors import DataError, unknown_name
from omnikit.nn.extras import extra

SHARDS_FILE = "shards.json"
FORMS = tuple(suffix[1:] for suffix in SUFFIXES)


@dataclass(frozen=True)
class ShardsMade:
    """What was written: the folder, how many shards, how many records by file of the corpus."""

    folder: Path
    num_shards: int
    records: Mapping[str, int]


def write_shards(
    corpus: Path, out: Path, form: str, *, units: UnitStore | None = None, vocab_id: str = "", num_records: int = 1000
) -> ShardsMade:
    """Write every JSONL file of `corpus` as shards of `num_records` records, named `KIND.SPLIT-NUMBER.FORM`.

    Messages get their units from `units`, whose vocabulary is `vocab_id`. Pictures and, without units, recordings are
    put into Parquet and tar shards; JSONL shards name them where they lie. Every shard appears whole or not at all.
    Raises `DataError` for a folder that holds shards, a corpus without JSONL files, or a recording without units.
    """
    if form not in FORMS:
        raise unknown_name("form of shards", form, FORMS)
    if num_records < 1:
        raise DataError(f"A shard holds at least 1 record, not {num_records}.")
    files = sorted(corpus.glob("*.jsonl"))
    if not files:
        raise DataError(f"{corpus} holds no *.jsonl file to write as shards.")
    out.mkdir(parents=True, exist_ok=True)
    if any(path.suffix in SUFFIXES for path in out.iterdir()):
        raise DataError(f"{out} holds shards already.\nGive a new folder, or delete this one.")
    written: dict[str, int] = {}
    num_shards = 0
    for file in files:
        records = read_records(file, validate=False)
        number = 0
        while chunk := list(islice(records, num_records)):
            made = [_with_units(record, units) for record in chunk]
            _WRITERS[form](out / f"{file.stem}-{number:05d}.{form}", made, corpus, units is None)
            written[file.stem] = written.get(file.stem, 0) + len(chunk)
            number += 1
        num_shards += number
    about = {"corpus": corpus.resolve().name, "vocab_id": vocab_id or None, "records": written}
    write_text(out / SHARDS_FILE, json.dumps(about, indent=1) + "\n")
    return ShardsMade(out, num_shards, written)


def _with_units(record: Mapping[str, Any], units: UnitStore | None) -> dict[str, Any]:
    made = copy.deepcopy(dict(record))
    if units is None:
        return made
    for message in made["messages"]:
        for part in (message, message.get("rendering")):
            if part is not None and "audio" in part and "units" not in part:
                books = units[part["audio"]["path"]].tolist()  # [K][T]
                part["units"] = books[0] if len(books) == 1 else books
    return made


def _files_of(record: Mapping[str, Any], with_sound: bool) -> Iterator[dict[str, Any]]:
    """Everything of a record that names a file to take along."""
    for message in record["messages"]:
        for part in (message, message.get("rendering", {})):
            yield from filter(None, (part.get("image"), *part.get("images", ())))
            if with_sound and "audio" in part:
                yield part["audio"]


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


def _write_jsonl(path: Path, records: Sequence[dict[str, Any]], corpus: Path, with_sound: bool) -> None:
    for record in records:
        for holder in _files_of(record, with_sound=True):
            holder["path"] = os.path.relpath(corpus / holder["path"], path.parent)
    write_text(path, "".join(_line(record) + "\n" for record in records))


def _write_tar(path: Path, records: Sequence[dict[str, Any]], corpus: Path, with_sound: bool) -> None:
    part = path.with_name(path.name + ".part")
    with tarfile.open(part, "w") as archive:
        for number, record in enumerate(records):
            files = {}
            for place, holder in enumerate(_files_of(record, with_sound)):
                source = corpus / holder["path"]
                holder["path"] = f"{number:06d}.{place}{source.suffix}"
                files[holder["path"]] = source.read_bytes()
            for name, data in {f"{number:06d}.json": _line(record).encode(), **files}.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    part.replace(path)


def _write_parquet(path: Path, records: Sequence[dict[str, Any]], corpus: Path, with_sound: bool) -> None:
    pyarrow = extra("pyarrow", "shards", "Writing parquet shards")
    parquet = extra("pyarrow.parquet", "shards", "Writing parquet shards")
    rows = []
    for record in records:
        names = list(dict.fromkeys(holder["path"] for holder in _files_of(record, with_sound)))
        files = [{"name": name, "data": (corpus / name).read_bytes()} for name in names]
        rows.append({"record": _line(record), "files": files})
    file = pyarrow.struct([("name", pyarrow.string()), ("data", pyarrow.binary())])
    schema = pyarrow.schema([("record", pyarrow.string()), ("files", pyarrow.list_(file))])
    part = path.with_name(path.name + ".part")
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), part, row_group_size=100)
    part.replace(path)


_WRITERS = {"jsonl": _write_jsonl, "tar": _write_tar, "parquet": _write_parquet}


def vocabulary_of(units: Path) -> str:
    """The vocabulary of a folder of units: as its `units.json` says, or as the folder in a corpus is called."""
    card = units / "units.json"
    if not card.is_file():
        return units.name
    return str(json.loads(card.read_text(encoding="utf-8"))["plan"]["vocab_id"])
