"""`omnikit probe` from the command line: the tables, the JSON, the picture, the comparison, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnikit.cli import main
from omnikit.evaluation.unit_figures import noisy
from omnikit.metrics import sequence_probes
from omnikit.system import System

SMALL = [
    "probe.num_items=24",
    "probe.num_disturbed=4",
    "probe.snrs_db=[100]",
    "probe.gains_db=[6]",
    "probe.speeds=[1.1]",
]


@pytest.fixture(scope="module")
def weights(random_system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which only the tokenizer is trained."""
    folder = tmp_path_factory.mktemp("weights")
    System(random_system.plan, {"tokenizer": random_system.part("tokenizer")}).save(folder)
    return folder


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_probes, "STEPS", 4)


def test_tables_json_picture_and_comparison(
    weights: Path, larger_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", f"weights={weights}", f"data.path={larger_corpus}", *SMALL]
    files = [tmp_path / "new" / f"{name}.json" for name in ("one", "two")]
    assert main([*words, "name=one", "--json", str(files[0]), "--picture", str(tmp_path / "one.png")]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("| factor | chance | units | run lengths | features | log-mels |")
    assert "| PNMI |" in shown.out
    assert "reading features" in shown.err
    assert Image.open(tmp_path / "one.png").size[0] > 500
    found = json.loads(files[0].read_text())
    files[1].write_text(json.dumps({**found, "name": "two"}))
    assert found["corpus"]["seed"] == 3
    assert found["seed"] == found["setting"]["seed"] == 0
    assert {item["view"] for item in found["readings"]} == {"units", "run lengths", "features", "log-mels"}
    assert {item["factor"] for item in found["readings"]} >= {"phone", "speaker", "gender", "speed"}
    figures = {item["name"]: item for item in found["figures"]}
    assert figures["units kept, noise at 100 dB"]["value"] > 95
    assert figures["bit rate, nominal"]["value"] == 300.0
    assert figures["bit rate, content"]["value"] > 0
    assert main(["probe", "--compare", *map(str, files), "--picture", str(tmp_path / "both.png")]) == 0
    table = capsys.readouterr().out
    assert table.startswith("| read from | factor | chance | one | two |")
    assert "| PNMI |" in table
    assert Image.open(tmp_path / "both.png").size[1] > Image.open(tmp_path / "one.png").size[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--picture", "x.pdf"], "ends in .png"),
        (["--json", "seed=1"], "takes a file"),
        (["seed=1", "--compare", "a.json"], "leave the rest out"),
        (["--compare", "missing.json"], "cannot be read"),
        (["probe.num_items=0"], "num_items is 0"),
        (["tokenizer=bottleneck"], "holds no trained tokenizer/bottleneck"),
    ],
)
def test_what_cannot_work_is_said_in_short(
    words: list[str], said: str, weights: Path, larger_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [] if "--compare" in words else [f"weights={weights}", f"data.path={larger_corpus}"]
    assert main(["probe", *given, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) <= 8


def test_a_file_that_is_no_report_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text('{"name": "x"}')
    assert main(["probe", "--compare", str(tmp_path / "x.json")]) == 2
    assert "holds no leakage report" in capsys.readouterr().err


def test_noise_has_the_power_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(50_000) / 7).astype(np.float32)
    added = noisy(wave, 10.0, rng) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(added**2)) == pytest.approx(10.0, abs=0.1)
