"""Distributions of plugins/ beside each other in one process, where they are installed (`nox -s plugins` does it)."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from omnikit.cli import main
from omnikit.registry import available, entries, fault_of, resolve

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[2] / "plugins").glob("*/pyproject.toml"))
INSTALLED = {distribution.name for distribution in metadata.distributions()}
MISSING = [folder.name for folder in FOLDERS if folder.name not in INSTALLED]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"`nox -s plugins` installs {', '.join(MISSING)}")


def test_all_of_their_parts_can_be_used() -> None:
    brought = {}
    for folder in FOLDERS:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        brought |= dict.fromkeys(project["entry-points"].get("omnikit.components", ()), folder.name)
    assert len(brought) >= len(FOLDERS)
    assert {item: fault_of(item) for item in brought} == dict.fromkeys(brought, "")
    assert {item: entries()[item].distribution for item in brought} == brought


def test_all_modules_can_be_asked_for_their_files_once_they_are_imported() -> None:
    for component_id in available():
        resolve(component_id)
    assert {"encodec", "speechbrain", "transformers"} <= set(sys.modules)
    for module in list(sys.modules.values()):
        getattr(module, "__file__", None)  # what hypothesis does; a module must not fail here


@pytest.mark.parametrize(
    "parts",
    [
        ["tokenizer=s3_tiny", "detokenizer=unit_hifigan_tiny", "style=none", "input_style=emotion_wav2vec2"],
        ["tokenizer=s3_tiny", "detokenizer=uvits_tiny", "style=ecapa"],
        ["tokenizer=ssl_kmeans_tiny", "detokenizer=uvits_tiny", "style=ecapa", "input_style=emotion_wav2vec2"],
        ["tokenizer=mimi_tiny", "detokenizer=mimi_tiny", "emitter=delay", "input_style=emotion_wav2vec2"],
        ["tokenizer=encodec_tiny", "detokenizer=encodec_tiny", "emitter=depth_tiny", "style=none"],
    ],
    ids=" ".join,
)
def test_parts_of_several_of_them_make_a_system(parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "experiment=emova_tiny", *parts]) == 0, capsys.readouterr().err
    assert "Every wire fits." in capsys.readouterr().out
