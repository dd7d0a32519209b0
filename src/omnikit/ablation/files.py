"""Small files of a sweep: written whole or not at all, read with an error that names them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omnikit.errors import OmnikitError


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with staging.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, all or none."""
    write_text(path, "".join(json.dumps(row, default=str) + "\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line. Raises `OmnikitError` where it is torn."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise OmnikitError(f"{path} is torn: {error}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `OmnikitError` where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OmnikitError(f"There is no {path}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise OmnikitError(f"{path} is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise OmnikitError(f"{path} holds no JSON object.")
    return found


def digest(value: Any) -> str:
    """Twelve digits that stand for plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
