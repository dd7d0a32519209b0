"""Reading corpora that lie in many files: JSONL, Parquet and WebDataset tar shards, chosen by the ending of their name.

A shard holds records of the published schema (`schema.json`), one behind the other:

- `.jsonl`: a record a line; the files that it names lie beside the shard;
- `.parquet`: a column `record` with the JSON, and a column `files` of (name, data) pairs (pyarrow is needed);
- `.tar`: members `KEY.json` with the record and `KEY.…` with its files, next to each other. A picture beside `KEY.txt`
  is a picture with its caption.

`caption.train-00012.tar` is of kind `caption` and split `train`; a name without split is of `train`.
"""

from __future__ import annotations

import glob
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from omnikit.data.media import StoredFile
from omnikit.errors import DataError
from omnikit.nn.extras import extra

SUFFIXES = (".jsonl", ".parquet", ".tar")
SPLITS = ("train", "valid", "test")
_TAIL = 1024  # zero bytes that every whole tar file ends in


@dataclass(frozen=True)
class Entry:
    """A record of a shard, or the `problem` that it has; `name` says where it stands."""

    name: str
    record: dict[str, Any] | None
    problem: str = ""


def find_shards(patterns: Sequence[str]) -> list[Path]:
    """The shards that paths and wildcards name, in order of their names; raises `DataError` for none."""
    found: list[Path] = []
    for pattern in patterns:
        paths = sorted(Path(path) for path in glob.glob(pattern, recursive=True))
        if not paths:
            raise DataError(
                f"There is no shard at '{pattern}'.\nName files or wildcards, e.g. data.shards=['shards/*.tar']."
            )
        strange = [path.name for path in paths if path.suffix not in SUFFIXES]
        if strange:
            raise DataError(f"{strange[0]} is no shard: names end in {', '.join(SUFFIXES)}.")
        found += paths
    return list(dict.fromkeys(found))


def kind_and_split(path: Path) -> tuple[str, str]:
    """`caption` and `train` of `caption.train-00012.tar`."""
    name = re.sub(r"-\d+$", "", path.stem)
    kind, dot, split = name.rpartition(".")
    return (kind, split) if dot and split in SPLITS else (name, "train")


def read_shard(path: Path, start: int = 0) -> Iterator[Entry]:
    """The records of a shard from number `start` on; what is broken comes as an entry with a problem, in its place."""
    readers = {".jsonl": _read_jsonl, ".parquet": _read_parquet, ".tar": _read_tar}
    return readers[path.suffix](path, start)


def _read_jsonl(path: Path, start: int) -> Iterator[Entry]:
    number = 0
    try:
        with path.open("rb") as source:
            for line, raw in enumerate(source, start=1):
                if not raw.strip():
                    continue
                if number >= start:
                    yield _entry(f"{path.name}:{line}", raw, None, path.parent)
                number += 1
    except OSError as error:
        yield Entry(path.name, None, f"cannot be read: {error}")


def _read_tar(path: Path, start: int) -> Iterator[Entry]:
    number = 0
    try:
        with tarfile.open(path, "r:") as archive:
            members = (member for member in archive if member.isfile())
            for key, group in groupby(members, key=lambda member: _key(member.name)):
                own = list(group)
                if number >= start:
                    files = {member.name: archive.extractfile(member).read() for member in own}  # type: ignore[union-attr]
                    yield _tar_entry(f"{path.name}:{key}", key, files)
                number += 1
        with path.open("rb") as source:
            source.seek(-min(_TAIL, path.stat().st_size), os.SEEK_END)
            if source.read().strip(b"\0"):
                yield Entry(f"{path.name}:{number}", None, "the shard breaks off here")
    except (tarfile.TarError, OSError) as error:
        yield Entry(f"{path.name}:{number}", None, f"the shard breaks off here: {error}")


def _key(member: str) -> str:
    """What the members of one sample share: everything up to the first dot of the file's name."""
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _tar_entry(name: str, key: str, files: Mapping[str, bytes]) -> Entry:
    raw = files.get(f"{key}.json")
    if raw is not None:
        return _entry(name, raw, files, None)
    written = files.get(f"{key}.txt")
    pictures = [member for member in files if member != f"{key}.txt"]
    if written is None or not pictures:
        return Entry(name, None, f"holds neither {key}.json nor a picture with {key}.txt")
    user = {"role": "user", "images": [{"path": member} for member in pictures]}
    told = {"role": "assistant", "text": written.decode("utf-8", "replace").strip()}
    return _entry(name, json.dumps({"id": name, "messages": [user, told]}).encode(), files, None)


def _read_parquet(path: Path, start: int) -> Iterator[Entry]:
    parquet = extra("pyarrow.parquet", "shards", f"Reading {path}")
    number = 0
    try:
        table = parquet.ParquetFile(path)
        for group in range(table.num_row_groups):
            size = table.metadata.row_group(group).num_rows
            if number + size > start:
                for place, row in enumerate(table.read_row_group(group).to_pylist()):
                    if number + place >= start:
                        files = {file["name"]: file["data"] for file in row.get("files") or ()}
                        yield _entry(f"{path.name}:{number + place}", str(row["record"]).encode(), files, None)
            number += size
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these classes
        yield Entry(f"{path.name}:{number}", None, f"the shard cannot be read from here: {str(error).splitlines()[0]}")


def _entry(name: str, raw: bytes, files: Mapping[str, bytes] | None, folder: Path | None) -> Entry:
    """A record whose paths lead to its files: those in the shard, or below the folder of the shard."""
    try:
        record = json.loads(raw.decode("utf-8"))
        if not isinstance(record, dict) or not isinstance(record.get("messages"), list):
            return Entry(name, None, "no record: an object with messages is needed")
        for holder in _holders(record["messages"]):
            path = holder["path"]
            if files is None:
                holder["path"] = str(Path(folder or ".") / path)
            elif path in files:
                holder["path"] = StoredFile(f"{name}/{path}", files[path])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Entry(name, None, f"no record: {error!r}"[:200])
    return Entry(name, record)


def _holders(messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Everything in messages that has the path of a file."""
    for message in messages:
        for part in (message, message.get("rendering", {})):
            yield from filter(None, (part.get("audio"), part.get("image"), *part.get("images", ())))
