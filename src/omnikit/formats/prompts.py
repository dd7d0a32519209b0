"""Prompt sentences out of a user's own file, letter by letter: what a published model was asked with is not ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from omnikit.errors import OmnikitError, unknown_name

NAMES = ("prompts.json", "prompts.yaml", "prompts.yml")
"""What a folder is searched for, a copy of a checkpoint or a saved format."""


def read_prompts(path: Path, tasks: Sequence[str]) -> dict[str, str]:
    """The sentence of every task out of a JSON or YAML mapping, or a folder with one (`NAMES`).

    Raises `UnknownName` for a key that is no task; `OmnikitError` for a file that is missing or cannot be read, a task
    that it lacks, and a value that is no text.
    """
    file = _file(path)
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OmnikitError(
            f"The prompts in {file} cannot be read: {reason}\nThey are a JSON or YAML mapping of {', '.join(tasks)}."
        ) from error
    if not isinstance(found, Mapping):
        raise OmnikitError(f"{file} holds no mapping. Write a sentence for each of {', '.join(tasks)}.")
    for task in found:
        if task not in tasks:
            raise unknown_name(f"task in {file}", str(task), tasks)
    missing = [task for task in tasks if task not in found]
    if missing:
        raise OmnikitError(f"{file} lacks {', '.join(missing)}. Write a sentence for each of {', '.join(tasks)}.")
    for task, sentence in found.items():
        if not isinstance(sentence, str):
            raise OmnikitError(f"{file}: the sentence of {task} is {sentence!r}, no text. Put it in quotes.")
    return dict(found)


def write_prompts(folder: Path, sentences: Mapping[str, str]) -> None:
    """Write sentences as `read_prompts` finds them."""
    (folder / NAMES[0]).write_text(json.dumps(dict(sentences), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _file(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_dir():
        return path
    found = [path / name for name in NAMES if (path / name).is_file()]
    if not found:
        raise OmnikitError(f"The folder {path} holds no prompts: write them to one of {', '.join(NAMES)} in it.")
    return found[0]
