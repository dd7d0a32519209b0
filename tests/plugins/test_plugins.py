"""Distributions in plugins/: complete by themselves, and found by omnikit without being imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
# What another distribution may build on; the rest of omnikit is its own affair.
PUBLIC = {"artefacts", "cli", "contracts", "data", "errors", "nn", "registry", "slots", "system", "testing", "types"}


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_there_are_plugins() -> None:
    assert "omnikit-speechbrain" in [folder.name for folder in PLUGINS]


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_is_a_whole_distribution(folder: Path) -> None:
    declared = project(folder)
    assert declared["name"] == folder.name and declared["license"]
    assert any(line.startswith("omnikit-core") for line in declared["dependencies"])
    assert (folder / "README.md").is_file() and (folder / "LICENCES.md").is_file()
    assert list((folder / "tests").glob("test_*.py"))
    points = declared["entry-points"]
    assert points  # parts of omnikit, or what another library looks for
    for target in points.get("omnikit.components", {}).values():
        module, name = target.split(":")
        tree = ast.parse((folder / "src" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for name in points.get("omnikit.conf", {}).values():
        assert list((folder / "src" / name.replace(".", "/")).rglob("*.yaml"))


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_builds_on_public_rooms_only(folder: Path) -> None:
    for path in (folder / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            rooms = [name.split(".")[1] for name in names if name.startswith("omnikit.")]
            assert set(rooms) <= PUBLIC, f"{path}:{node.lineno}"


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_declares_all_that_it_imports(folder: Path) -> None:
    core = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project(folder)["dependencies"], *core["dependencies"]]
    if any(line.startswith("omnikit-core[train]") for line in wanted):
        wanted += core["optional-dependencies"]["train"]
    there = {re.match(r"[\w-]+", line)[0].lower() for line in wanted}
    there |= {"omnikit", folder.name}
    for path in (folder / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                brought_by = {"yaml": "pyyaml", "PIL": "pillow"}.get(name, name.replace("_", "-"))
                assert brought_by in there, f"{path}:{node.lineno} imports {name}, which is no dependency"


FAKE = """\
[omnikit.components]
style/fake = fake_plugin.style:Fake

[omnikit.conf]
fake = fake_plugin.conf
gone = no_such_package.conf
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A distribution as pip leaves it, whose package must not be imported to be found."""
    info = tmp_path / "fake_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(FAKE)
    package = tmp_path / "fake_plugin"
    (package / "conf" / "style").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "conf" / "style" / "fake_small.yaml").write_text("defaults: [label_centroid, _self_]\ndim: 6\n")
    return tmp_path


def said(installed: Path, code: str) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path.append({str(installed)!r})\n"
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True)


def test_variants_and_components_are_found_without_importing_anything(installed: Path) -> None:
    done = said(
        installed,
        "import omnikit\nfrom omnikit.cli.config import compose_config\n"
        "assert 'style/fake' in omnikit.available('style')\n"
        "node = compose_config('train', ['style=fake_small'])['style']\n"
        "print(node['component'], node['dim'], 'fake_plugin' in sys.modules)",
    )
    assert done.stdout.strip() == "style/label_centroid 6 False", done.stderr


def test_a_plugin_that_cannot_be_imported_is_named_and_the_rest_works(installed: Path) -> None:
    done = said(
        installed,
        "import omnikit\nomnikit.create('style/label_centroid', dim=4)\n"
        "try:\n    omnikit.create('style/fake')\nexcept (omnikit.OmnikitError, RuntimeError) as error:\n"
        "    print(type(error).__name__, error)",
    )
    assert done.stdout.startswith("OmnikitError") and "RuntimeError: imported" in done.stdout, done.stderr


def test_a_plugin_that_cannot_be_imported_is_listed_with_its_reason(installed: Path) -> None:
    done = said(installed, "from omnikit.cli import main\nsys.exit(main(['ls', 'style']))")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["style/fake"].endswith("fake-plugin 1.0   broken: RuntimeError: imported")
    assert rows["style/none"].endswith("omnikit.styles.none:NoStyle")


def test_plugins_can_be_left_out(installed: Path) -> None:
    code = (
        "import os\nos.environ['OMNIKIT_PLUGINS'] = 'none'\nimport omnikit\n"
        "from omnikit.plugins import plugin_folders\n"
        "print('style/fake' in omnikit.available(), plugin_folders())"
    )
    done = said(installed, code)
    assert done.stdout.strip() == "False {}", done.stderr


def test_the_guides_file_is_judged_as_the_guide_says(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(guide.split("```python\n")[1].split("```")[0], encoding="utf-8")
    words = ["-m", "omnikit", "conformance", "projector/halves", "--plugin", "./mine.py"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=tmp_path)
    broken = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("✗")]
    assert (done.returncode, broken) == (3, ["refuses_another_width"]), done.stderr
