"""`examples/plot_curves.py` draws one picture a stage from `curves.csv`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).parents[2] / "examples" / "plot_curves.py"


def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_one_light_picture_a_stage(tmp_path: Path) -> None:
    for stage in ("tokenizer", "sft"):
        rows = [
            f"{step},{step / 2},{name},{5 / step}" for step in range(1, 400) for name in ("loss", "valid_loss", "ctc")
        ]
        (tmp_path / "run" / stage).mkdir(parents=True)
        (tmp_path / "run" / stage / "curves.csv").write_text("\n".join(["step,seconds,name,value", *rows]) + "\n")
    done = run(tmp_path / "run", tmp_path / "img")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "img").iterdir()) == ["curve_sft.png", "curve_tokenizer.png"]
    for path in (tmp_path / "img").iterdir():
        assert path.stat().st_size < 60_000
        with Image.open(path) as image:
            assert image.width > 400  # two panels: the loss with its validation, and ctc


def test_a_folder_without_curves_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path / "img")
    assert done.returncode == 2
    assert "no */curves.csv" in done.stderr
    assert not (tmp_path / "img").exists()
