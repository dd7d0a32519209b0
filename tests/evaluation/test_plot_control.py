"""`examples/plot_control.py` draws what every style moved from what `omnikit eval --json` printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

SCRIPT = Path(__file__).parents[2] / "examples" / "plot_control.py"


def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def figure(name: str, group: str, how: str) -> dict[str, Any]:
    return {
        "part": "control",
        "name": name,
        "group": group,
        "value": 2.0,
        "low": 1.5,
        "high": 2.5,
        "unit": "dB",
        "how": how,
    }


def test_one_picture_with_a_row_for_every_style(tmp_path: Path) -> None:
    names = ("duration moved", "F0 moved", "level moved")
    for count in (2, 4):
        hows = ["the rule says +2.5", "no rule"] * (count // 2)
        figures = [figure(name, f"pitch={row}", how) for name in names for row, how in enumerate(hows)]
        (tmp_path / f"{count}.json").write_text(json.dumps({"figures": figures}))
        done = run(tmp_path / f"{count}.json", tmp_path / "img" / f"{count}.png")
        assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "img" / "2.png") as few, Image.open(tmp_path / "img" / "4.png") as many:
        assert few.size == many.size and few.tobytes() != many.tobytes()


def test_figures_without_control_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text(json.dumps({"figures": []}))
    done = run(tmp_path / "none.json", tmp_path / "none.png")
    assert done.returncode == 2 and "parts=[control]" in done.stderr
    assert not (tmp_path / "none.png").exists()
