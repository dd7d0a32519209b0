"""What `omnikit new plugin` writes is whole: installed untouched, it is listed, conforms and composes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from omnikit.cli import main
from omnikit.cli.new import _slots, write_plugin
from omnikit.errors import OmnikitError, UnknownName

NAMES = {slot: f"my_{slot}" for slot in _slots()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A distribution of every slot that has a template."""
    out = tmp_path_factory.mktemp("written")
    return {slot: write_plugin(slot, name, out) for slot, name in NAMES.items()}


@pytest.fixture(scope="module")
def site(written: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them as pip would leave them, where Python finds them and nothing else does."""
    target = tmp_path_factory.mktemp("site")
    for folder in written.values():
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        shutil.copytree(folder / "src", target, dirs_exist_ok=True)
        info = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        fields = {"Name": project["name"], "Version": project["version"], "License-Expression": project["license"]}
        told = "".join(f"{name}: {value}\n" for name, value in fields.items())
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\n{told}")
        groups = project["entry-points"].items()
        points = ("\n".join([f"[{group}]", *(f"{n} = {t}" for n, t in found.items())]) for group, found in groups)
        (info / "entry_points.txt").write_text("\n".join(points) + "\n")
    return target


def run(site: Path, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=cwd or site)


def test_every_slot_that_can_be_small_has_a_template() -> None:
    assert {"tokenizer", "detokenizer", "style", "projector", "vision_encoder", "format"} <= set(NAMES)


@pytest.mark.parametrize("slot", NAMES)
def test_it_is_clean_and_complete(slot: str, written: dict[str, Path]) -> None:
    folder = written[slot]
    ruff = [sys.executable, "-m", "ruff"]
    for command in ([*ruff, "check", "--no-cache", "."], [*ruff, "format", "--no-cache", "--check", "."]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == folder.name == f"omnikit-my-{slot.replace('_', '-')}"
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    steps = yaml.safe_load((folder / ".github" / "workflows" / "tests.yml").read_text())["jobs"]["tests"]["steps"]
    assert {"run": "pytest"} in steps
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".yml":
            assert "$" not in path.read_text(encoding="utf-8"), f"{path}: a placeholder is left"


HELD = """\
import json, omnikit.testing
found = {{slot: omnikit.testing.check(f"{{slot}}/my_{{slot}}") for slot in {slots}}}
told = {{slot: [[item.case, item.outcome, str(item)] for item in results] for slot, results in found.items()}}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def held(site: Path) -> dict[str, list[list[str]]]:
    """Case, outcome and words of every promise of every one of them."""
    done = run(site, "-c", HELD.format(slots=list(NAMES)))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("slot", NAMES)
def test_it_conforms_untouched(slot: str, held: dict[str, list[list[str]]]) -> None:
    assert [words for _, outcome, words in held[slot] if outcome == "failed"] == []
    kept = {case for case, outcome, _ in held[slot] if outcome == "passed"}
    assert {"its_licence_is_declared", "its_package_is_light", "is_saved_and_loaded_whole"} <= kept


def test_all_are_listed_and_compose(site: Path) -> None:
    rows = {row["id"]: row for row in json.loads(run(site, "-m", "omnikit", "ls", "--json").stdout)}
    for slot, name in NAMES.items():
        assert rows[f"{slot}/{name}"]["distribution"] == f"omnikit-{name.replace('_', '-')}"
        assert rows[f"{slot}/{name}"]["broken"] == ""
    words = [f"{slot}=my_{slot}_variant" for slot in NAMES if slot != "projector"]
    done = run(site, "-m", "omnikit", "check", "experiment=emova_tiny", "projector=my_projector", *words)
    assert done.returncode == 0, done.stderr
    assert "Every wire fits." in done.stdout and "codebooks=[125]" in done.stdout


def test_its_own_tests_pass(written: dict[str, Path], site: Path) -> None:
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not compiles", cwd=written["projector"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_lines_of_their_readmes_run(written: dict[str, Path], site: Path) -> None:
    texts = [(folder / "README.md").read_text(encoding="utf-8") for folder in written.values()]
    code = "\n".join(text.split("```python\n")[1].split("```")[0] for text in texts)
    done = run(site, "-c", code)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(NAMES)


def test_what_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'tokenizer'"):
        write_plugin("tokeniser", "mine", tmp_path)
    for name in ("MyCodec", "1st", "class", "a-b", "../x", "", "x" * 33):
        with pytest.raises(OmnikitError, match="lower snake case"):
            write_plugin("tokenizer", name, tmp_path)
    with pytest.raises(OmnikitError, match="is taken"):
        write_plugin("tokenizer", "spiral_fsq", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert main(["new", "plugin", "style", "mine", "--out", str(tmp_path)]) == 0
    assert main(["new", "plugin", "style", "mine", "--out", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
