"""The kit at work from outside: as a pytest plugin, as a verb, and what it writes down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from omnikit.cli import main
from omnikit.errors import OmnikitError
from omnikit.testing.reports import parse_parameters

SITE = Path(__file__).parent / "twelve_ways"


def python(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SITE)}
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=cwd, env=environment)


def test_pytest_runs_one_test_a_promise_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_other(): raise AssertionError\n")
    words = ("--omnikit-conformance", "projector/mixes_rows", "-k", "not compiles", "-v", "-p", "no:cacheprovider")
    done = python("pytest", *words, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "projector/mixes_rows::embeds_are_as_declared PASSED" in done.stdout
    assert "projector/mixes_rows::batch_equals_singles FAILED" in done.stdout
    assert "::compiles" not in done.stdout and "test_other" not in done.stdout
    assert "row 0 differs in a batch" in done.stdout and "Traceback" not in done.stdout
    done = python(
        "pytest", "test_other.py", *words[:2], "--omnikit-set", "dim=4", "-k", "test_other or clock", cwd=tmp_path
    )
    assert "1 failed, 1 passed" in done.stdout


def test_pytest_says_what_it_cannot_hold(tmp_path: Path) -> None:
    done = python("pytest", "--omnikit-conformance", "projector/mpl", cwd=tmp_path)
    assert done.returncode == 4 and "projector/mlp" in done.stderr


def test_pytest_starts_without_torch(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text("import sys\n\ndef test_light():\n    assert 'torch' not in sys.modules\n")
    done = python("pytest", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_verb_writes_lines_a_record_and_a_badge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    badge = tmp_path / "badge.json"
    assert main(["conformance", "style/none", "--badge", str(badge)]) == 0
    told = capsys.readouterr().out
    assert "✓ factors_are_named" in told and " 0 broken," in told.splitlines()[-1]
    found = json.loads(badge.read_text())
    assert found["schemaVersion"] == 1 and found["color"] == "brightgreen"
    kept, _, applied = found["message"].partition("/")
    assert kept == applied and int(kept) > 20
    assert main(["conformance", "style/label_centroid", "dim=3", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["conforms"] and record["parameters"]["dim"] == 3 and record["contract_api"] == 1


SCRATCH = """\
import omnikit
from omnikit.styles.none import NoStyle


@omnikit.register("style/scratch")
class Scratch(NoStyle):
    \"""A default that is none of its values.\"""

    factors = {"mood": ("calm", "calm")}
"""


def test_the_verb_exits_with_3_where_a_promise_is_broken(tmp_path: Path) -> None:
    (tmp_path / "scratch.py").write_text(SCRATCH)
    words = ("conformance", "style/scratch", "--plugin", "scratch.py", "--badge", "badge.json")
    done = python("omnikit", *words, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "✗ factors_are_named" in done.stdout and "factor 'mood' has the values" in done.stdout
    assert json.loads((tmp_path / "badge.json").read_text())["color"] == "red"


def test_parameters_are_read_as_data() -> None:
    assert parse_parameters(["dim=8", "levels=[4, 5]", "name=x"]) == {"dim": 8, "levels": [4, 5], "name": "x"}
    for word in ("dim", "=3", "a b=3", "x=[1", "x=!!python/object/apply:os.system ['true']"):
        with pytest.raises(OmnikitError, match="="):
            parse_parameters([word])
