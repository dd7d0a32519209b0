"""One small corpus for all tests of the folder, made once, and copies of it for tests that damage it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnikit.data.corpus import CorpusSummary, make_corpus
from omnikit.data.espeak import Espeak

HOURS = 0.05
SEED = 7


@pytest.fixture(scope="session")
def espeak() -> Espeak:
    return Espeak()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusSummary:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "one", HOURS, SEED, processes=1)


@pytest.fixture
def damaged(corpus: CorpusSummary, tmp_path: Path) -> Callable[..., Path]:
    """A copy of one JSONL file with its media, whose record `line` (from 1) was changed by a function."""

    def make(name: str, change: Callable[[dict[str, Any], Path], Any], line: int = 1) -> Path:
        folder = tmp_path / "damaged"
        kind_split = name.removesuffix(".jsonl")
        folder.mkdir()
        shutil.copytree(corpus.folder / "images", folder / "images")
        if (corpus.folder / "audio" / kind_split).exists():
            shutil.copytree(corpus.folder / "audio" / kind_split, folder / "audio" / kind_split)
        records = [json.loads(text) for text in (corpus.folder / name).read_text().splitlines()]
        change(records[line - 1], folder)
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
        return folder

    return make
