"""Reading JSONL corpora: the published schema (`schema.json`), and errors that name file, line and field."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnikit.errors import DataError, closest

SCHEMA_PATH = Path(__file__).with_name("schema.json")
_SHORT = 120


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the file, its line (1 is the first, 0 the file itself), the field, and what is wrong."""

    file: str
    line: int
    field: str
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.what}" if self.field else f"{place}: {self.what}"


@dataclass(frozen=True)
class Line:
    """One line of a JSONL file: its number (from 1), its end in the file (bytes), and the record or the `problem`."""

    number: int
    end: int
    record: dict[str, Any] | None
    problem: str = ""


@functools.cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))


def field_name(path: Iterable[str | int]) -> str:
    """`messages[0].audio.path` from the keys and indices of a JSON path."""
    name = ""
    for step in path:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name


def _describe(error: Any) -> str:
    if error.validator == "enum":
        accepted = [str(value) for value in error.validator_value]
        near = closest(str(error.instance), accepted)
        hint = f"; did you mean '{near}'?" if near else f"; accepted: {', '.join(accepted)}"
        return f"unknown value {error.instance!r}{hint}"
    message = error.message
    return message if len(message) <= _SHORT else "… " + message[-_SHORT:]


def schema_problems(record: Any) -> list[tuple[str, str]]:
    """Everything in which `record` breaks the schema, as (field, what)."""
    errors = sorted(_validator().iter_errors(record), key=lambda error: [str(step) for step in error.absolute_path])
    return [(field_name(error.absolute_path), _describe(error)) for error in errors]


def read_lines(path: str | os.PathLike[str]) -> Iterator[Line]:
    """The lines of a JSONL file, parsed one at a time, without the blank ones. Raises DataError for a missing file."""
    file = Path(path)
    if not file.is_file():
        raise DataError(f"The corpus file {file} does not exist.")
    with file.open("rb") as source:
        end = 0
        for number, raw in enumerate(source, start=1):
            end += len(raw)
            if not raw.strip():
                continue
            try:
                record = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
            except ValueError as error:
                yield Line(number, end, None, f"no JSON: {error}")
                continue
            if isinstance(record, dict):
                yield Line(number, end, record)
            else:
                yield Line(number, end, None, f"a JSON object is needed, this is {type(record).__name__}")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def pictures_of(message: Mapping[str, Any]) -> list[str]:
    """The paths of all pictures that a message shows, in order."""
    return [image["path"] for image in (*filter(None, [message.get("image")]), *message.get("images", ()))]


def read_records(path: str | os.PathLike[str], validate: bool = True) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file, one at a time.

    Args:
        path: the file.
        validate: hold every record against the schema (about 1.5 ms each); off, only the JSON itself is checked.

    Raises DataError `file:line: field: what` at the first record that is wrong.
    """
    for line in read_lines(path):
        if line.record is None:
            raise DataError(str(Problem(str(path), line.number, "", line.problem)))
        if validate:
            for field, what in schema_problems(line.record):
                raise DataError(str(Problem(str(path), line.number, field, what)))
        yield line.record
