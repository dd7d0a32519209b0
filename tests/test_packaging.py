"""What is shipped is what is there: packages, data files, entry points, dependencies, and the measured versions."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from importlib.metadata import entry_points, packages_distributions, version
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import omnikit

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "omnikit"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMPONENTS = PROJECT["entry-points"]["omnikit.components"]

EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "dev"}

# needed by timm and transformers for images, at the release that belongs to this torch; torch's exporter writes files
# with onnx, which onnxruntime runs
INDIRECT = {"torchvision", "onnx", "onnxruntime"}
# imported only where it is there anyway: the module that pytest itself imports
BROUGHT = {"pytest"}


def setup_list(section: str, key: str) -> list[str]:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser[section][key].split()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_folder_with_code_is_listed_as_a_package() -> None:
    folders = {path.parent.relative_to(SOURCE.parent) for path in SOURCE.rglob("*.py")}
    found = {".".join(folder.parts) for folder in folders} | {"omnikit.conf"}
    assert found == set(setup_list("options", "packages"))


def test_every_package_has_an_init_file() -> None:
    missing = {path.parent for path in SOURCE.rglob("*.py") if not (path.parent / "__init__.py").exists()}
    assert not missing


@pytest.mark.parametrize(("package", "folder"), [("omnikit", SOURCE), ("omnikit.conf", ROOT / "conf")])
def test_every_data_file_is_shipped(package: str, folder: Path) -> None:
    shipped = {path for pattern in setup_list("options.package_data", package) for path in folder.glob(pattern)}
    data = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))
    there = {path for path in data if not any(part.startswith(".") for part in path.relative_to(folder).parts)}
    assert there, f"no data files in {folder}"
    assert there <= shipped, f"not shipped: {sorted(there - shipped)}"


def test_conf_is_found_as_a_package() -> None:
    assert files("omnikit.conf").joinpath("__init__.py").is_file()
    assert sorted(path.name for path in files("omnikit.conf").iterdir() if path.name.endswith(".yaml"))


def test_version_is_said_once() -> None:
    assert omnikit.__version__ == PROJECT["version"] == version("omnikit-core")


def test_installed_entry_points_are_the_declared_ones() -> None:
    installed = {point.name: point.value for point in entry_points(group="omnikit.components")}
    assert COMPONENTS.items() <= installed.items()


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_declared_component_exists(component: str) -> None:
    module, name = COMPONENTS[component].split(":")
    path = SOURCE.parent.joinpath(*module.split(".")).with_suffix(".py")
    classes = {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)}
    assert name in classes


def test_dependencies_are_what_the_code_imports() -> None:
    imported = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).split(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"omnikit"} - BROUGHT
    owners = {"parselmouth": ["praat-parselmouth"], **packages_distributions()}  # its wheel names no modules
    unknown = sorted(name for name in outside if name not in owners)
    assert not unknown, f"imported, not installed: {unknown}"
    needed = {canonical(owners[name][0]) for name in outside}
    declared = {canonical(Requirement(line).name) for line in [*PROJECT["dependencies"], *EXTRAS["train"]]}
    optional = {canonical(Requirement(line).name) for lines in EXTRAS.values() for line in lines} - declared
    assert needed <= declared | optional, f"imported, not declared: {sorted(needed - declared - optional)}"
    assert declared <= needed | INDIRECT, f"declared, never imported: {sorted(declared - needed - INDIRECT)}"


def test_no_requirement_is_said_twice() -> None:
    said = [canonical(Requirement(line).name) for line in PROJECT["dependencies"]]
    said += [canonical(Requirement(line).name) for lines in EXTRAS.values() for line in lines]
    assert len(said) == len(set(said))


def test_development_installs_what_the_suite_runs_with() -> None:
    own = next(item for item in map(Requirement, PROJECT["optional-dependencies"]["dev"]) if item.extras)
    assert own.name == PROJECT["name"]
    assert {"train", "onnx", "lora"} <= own.extras <= set(EXTRAS)


def test_measured_versions_satisfy_the_declared_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    tools = [line for line in PROJECT["optional-dependencies"]["dev"] if not Requirement(line).extras]
    installed = [line for name in ("train", "onnx", "lora") for line in EXTRAS[name]]
    for line in [*PROJECT["dependencies"], *installed, *tools]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[requirement.name]), line


def test_console_command_answers() -> None:
    command = Path(sys.executable).parent / ("omnikit.exe" if os.name == "nt" else "omnikit")
    done = subprocess.run([str(command), "--help"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_ci_script_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).returncode == 0
