"""The walls of the house: which room may import which. Imports under `if TYPE_CHECKING` are free."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from omnikit.testing.unsafe_code import unsafe_code

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "omnikit"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 500
TORCH_LOADER = SOURCE / "artefacts.py"  # the one file that may call torch.load, with weights_only=True

TARGET_FINDERS = {SOURCE / "scan.py", SOURCE / "testing" / "unsafe_code.py"}  # they name what they look for

FOUNDATION = {"types", "errors", "contracts", "plugins", "variants", "registry"}
COMPONENTS = {
    "vision_encoders",
    "speech_encoders",
    "input_styles",
    "projectors",
    "tokenizers",
    "backbones",
    "emitters",
    "styles",
    "detokenizers",
    "formats",
}
HYDRA = {"hydra", "omegaconf"}
DRAWING = {"matplotlib", "rich"}


@dataclass(frozen=True)
class Import:
    """One import that runs: `name` is dotted and absolute, `room` the part of omnikit (or "omnikit") or None."""

    name: str
    line: int

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    @property
    def room(self) -> str | None:
        parts = self.name.split(".")
        if parts[0] != "omnikit":
            return None
        is_room = len(parts) > 1 and ((SOURCE / parts[1]).is_dir() or (SOURCE / f"{parts[1]}.py").exists())
        return parts[1] if is_room else "omnikit"


def imports_of(tree: ast.AST, module: str, is_package: bool = False) -> Iterator[Import]:
    """Every import of a parsed module, at any depth, except those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for branch in node.orelse:
                yield from imports_of(ast.Module([branch], []), module, is_package)
        elif isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*above, *filter(None, [node.module])])
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)
        else:
            yield from imports_of(node, module, is_package)


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(path: Path) -> str:
    inside = path.relative_to(SOURCE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def only(*rooms: str) -> Callable[[str, Import], bool]:
    """Of omnikit, these rooms and the own one."""
    return lambda room, found: found.room is None or found.room == room or found.room in rooms


def none_of(packages: set[str]) -> Callable[[str, Import], bool]:
    return lambda room, found: found.package not in packages


def not_rooms(rooms: set[str]) -> Callable[[str, Import], bool]:
    return lambda room, found: found.room not in rooms or found.room == room


@dataclass(frozen=True)
class Wall:
    """`rooms` (None: all but `outside`) may hold only imports that are `allowed`; `offence` is one that is not."""

    name: str
    allowed: Callable[[str, Import], bool]
    offence: str
    rooms: frozenset[str] | None = None
    outside: frozenset[str] = frozenset()

    def applies(self, room: str) -> bool:
        return room in self.rooms if self.rooms is not None else room not in self.outside


WALLS = [
    Wall("foundation", only(*FOUNDATION), "omnikit.nn.fsq", frozenset(FOUNDATION)),
    Wall("nn", only("types", "errors"), "omnikit.contracts.Contract", frozenset({"nn"})),
    Wall("data and metrics", only("types", "errors", "nn"), "omnikit.slots.style", frozenset({"data", "metrics"})),
    Wall("slots", only("types", "errors", "contracts", "nn"), "omnikit.registry.create", frozenset({"slots"})),
    Wall(
        "components",
        only("types", "errors", "contracts", "slots", "nn"),
        "omnikit.stages.align",
        frozenset(COMPONENTS),
    ),
    Wall("components know no framework", none_of(HYDRA | {"lightning"}), "lightning.Fabric", frozenset(COMPONENTS)),
    Wall(
        "the conformance kit stands without the house above it",
        only("types", "errors", "contracts", "plugins", "registry", "slots", "nn", "artefacts", "wiring"),
        "omnikit.training.runner",
        frozenset({"testing"}),
    ),
    Wall(
        "published weights become components by their id",
        only("types", "errors", "contracts", "registry", "slots", "nn", "artefacts"),
        "omnikit.system.load",
        frozenset({"published"}),
    ),
    Wall(
        "studies are plans and processes, without a framework of their own",
        none_of(HYDRA | {"torch", "lightning"}),
        "torch.load",
        frozenset({"ablation"}),
    ),
    Wall("stages know no component", not_rooms(COMPONENTS), "omnikit.tokenizers.spiral_fsq", frozenset({"stages"})),
    Wall(
        "components are made by their id",
        not_rooms(COMPONENTS),
        "omnikit.projectors.mlp",
        outside=frozenset(COMPONENTS),
    ),
    Wall("only cli knows cli", not_rooms({"cli"}), "omnikit.cli.main", outside=frozenset({"cli", "__main__"})),
    Wall("only cli knows Hydra", none_of(HYDRA), "omegaconf.OmegaConf", outside=frozenset({"cli"})),
    Wall("only cli and report draw", none_of(DRAWING), "matplotlib.pyplot", outside=frozenset({"cli", "report"})),
]


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.name)
def test_wall(wall: Wall) -> None:
    broken = []
    for path in FILES:
        room = room_of(path)
        if not wall.applies(room):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for found in imports_of(tree, module_of(path), path.name == "__init__.py"):
            if not wall.allowed(room, found):
                broken.append(f"{path.relative_to(ROOT)}:{found.line} imports {found.name}")
    assert not broken, f"wall '{wall.name}':\n" + "\n".join(broken)


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.name)
def test_wall_stops_an_offence(wall: Wall) -> None:
    rooms = {room_of(path) for path in FILES} | COMPONENTS | FOUNDATION
    bound = [room for room in rooms if wall.applies(room)]
    assert bound
    assert not any(
        wall.allowed(room, Import(wall.offence, 1)) for room in bound if room != Import(wall.offence, 1).room
    )


def test_imports_are_found_at_any_depth_and_made_absolute() -> None:
    source = """
if TYPE_CHECKING:
    import torch
else:
    import lightning
from . import sibling
from ..nn.fsq import FSQ
def f():
    try:
        import hydra.utils as u
    except ImportError:
        from omnikit import create
"""
    names = [found.name for found in imports_of(ast.parse(source), "omnikit.tokenizers.x")]
    assert names == ["lightning", "omnikit.tokenizers.sibling", "omnikit.nn.fsq.FSQ", "hydra.utils", "omnikit.create"]
    package = [found.name for found in imports_of(ast.parse("from .x import y"), "omnikit.nn", is_package=True)]
    assert package == ["omnikit.nn.x.y"]
    assert Import("omnikit.create", 1).room == "omnikit"
    assert Import("omnikit.errors.MediaError", 1).room == "errors"


def test_no_file_can_bring_code_along() -> None:
    found = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, name in unsafe_code(tree, may_load_weights=path == TORCH_LOADER):
            if name != "_target_" or path not in TARGET_FINDERS:
                found.append(f"{path.relative_to(ROOT)}:{line} uses {name}")
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        if "_target_:" in path.read_text(encoding="utf-8"):
            found.append(f"{path.relative_to(ROOT)} uses _target_")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import pickle\npickle.load(f)", "pickle.load"),
        ("import pickle as p\np.loads(f)", "pickle.loads"),
        ("from pickle import load", "pickle.load"),
        ("import torch\ntorch.load(f, weights_only=True)", "torch.load"),
        ("load(f, weights_only=False)", "weights_only=False"),
        ("np.load(f, allow_pickle=True)", "allow_pickle=True"),
        ("from hydra import utils\nutils.instantiate(c)", "hydra.utils.instantiate"),
        ("from hydra.utils import instantiate as make", "hydra.utils.instantiate"),
        ("c = {'_target_': 'os.system'}", "_target_"),
    ],
)
def test_what_could_run_code_is_seen(source: str, name: str) -> None:
    assert name in [found for _, found in unsafe_code(ast.parse(source), may_load_weights=False)]


def test_refusing_a_target_and_loading_weights_are_fine() -> None:
    source = "if '_target_' in node:\n    raise error\nimport torch\ntorch.load(f, weights_only=True)"
    assert list(unsafe_code(ast.parse(source), may_load_weights=True)) == []


def test_no_file_is_too_long() -> None:
    files = [*FILES, *sorted((ROOT / "tests").rglob("*.py"))]
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    too_long = [f"{path}: {lines} lines" for path, lines in lengths.items() if lines > MAX_LINES]
    assert not too_long, f"more than {MAX_LINES} lines: one idea a file\n" + "\n".join(too_long)


def test_importing_omnikit_is_light() -> None:
    heavy = ("torch", "hydra", "omegaconf", "lightning", "transformers", "timm", "numpy", "matplotlib", "rich")
    code = f"import sys, omnikit\nprint([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
