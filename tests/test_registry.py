"""One id, one verb: listing without importing, creating, and errors that name the closest right word."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

import omnikit
from omnikit import registry
from omnikit.errors import OmnikitError, UnknownName

NONE = "omnikit.styles.none:NoStyle"


def test_every_slot_has_a_component() -> None:
    for slot in registry.SLOTS:
        assert omnikit.available(slot), slot


def test_listing_imports_no_component() -> None:
    code = (
        "import sys, omnikit; ids = omnikit.available(); assert len(ids) >= 9, ids; "
        "print([name for name in ('torch', 'hydra', 'lightning', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("component_id", sorted(registry.entries()))
def test_every_entry_resolves_and_describes_itself(component_id: str) -> None:
    told = omnikit.describe(component_id)
    assert told.doc
    assert registry.id_of(registry.resolve(component_id)) == component_id


def test_unknown_names_are_answered_by_the_closest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'tokenizer/spiral_fsq'"):
        omnikit.create("tokenizer/spiral_fsk")
    with pytest.raises(UnknownName, match="Did you mean 'levels'"):
        omnikit.create("tokenizer/spiral_fsq", level=[8])
    with pytest.raises(UnknownName, match="Did you mean 'tokenizer'"):
        omnikit.available("tokeniser")
    with pytest.raises(OmnikitError, match="snake case"):
        omnikit.register("Tokenizer", object)


def test_a_lone_component_says_what_a_system_would_derive() -> None:
    with pytest.raises(OmnikitError, match=r"projector/mlp alone needs in_dim, out_dim"):
        omnikit.create("projector/mlp")
    assert omnikit.create("projector/mlp", in_dim=3, out_dim=5).parameters_given["depth"] == 2


def test_registering_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})

    @omnikit.register("style/of_mine")
    class Mine:
        """A style."""

    assert "style/of_mine" in omnikit.available("style")
    assert omnikit.register("style/of_mine", Mine) is Mine
    with pytest.raises(OmnikitError, match="taken"):
        omnikit.register("style/of_mine", type("Other", (), {}))
    with pytest.raises(OmnikitError, match="omnikit-core"):
        omnikit.register("style/none", Mine)


class _Point:
    def __init__(self, name: str, value: str, owner: str) -> None:
        self.name, self.value = name, value
        self.dist = type("Dist", (), {"name": owner, "version": "1"})()


Points = dict[str, list[tuple[str, str, str]]]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Points], None]]:
    """Makes entry points, by group, those of installed distributions."""

    def install(points: Points) -> None:
        monkeypatch.setattr(metadata, "entry_points", lambda group: [_Point(*item) for item in points.get(group, [])])
        registry.entries.cache_clear()
        registry.slot_entries.cache_clear()

    yield install
    registry.entries.cache_clear()
    registry.slot_entries.cache_clear()


def test_two_owners_of_one_id_are_both_named_and_hurt_nothing_else(installed: Callable[[Points], None]) -> None:
    points = [("style/x", "a:A", "one"), ("style/x", "b:B", "two"), ("style/none", NONE, "omnikit-core")]
    installed({"omnikit.components": points})
    with pytest.raises(OmnikitError, match=r"one \(a:A\) and two \(b:B\)"):
        registry.resolve("style/x")
    assert registry.resolve("style/none").__name__ == "NoStyle"


def test_a_broken_plugin_names_its_distribution(installed: Callable[[Points], None]) -> None:
    installed({"omnikit.components": [("style/x", "no_such_module:A", "broken-plugin")]})
    with pytest.raises(OmnikitError, match=r"broken-plugin 1 is broken: No module named 'no_such_module'"):
        registry.resolve("style/x")
    assert registry.fault_of("style/x") == "No module named 'no_such_module'"


@pytest.mark.parametrize(
    ("name", "reason"), [("Style/x", "no component id"), ("ears/x", "no slot 'ears'"), ("style", "no component id")]
)
def test_an_entry_that_is_no_component_hurts_nothing_else(
    installed: Callable[[Points], None], name: str, reason: str
) -> None:
    installed({"omnikit.components": [(name, "a:A", "odd"), ("style/none", NONE, "omnikit-core")]})
    assert registry.available() == ["style/none"]
    assert reason in registry.entries()[name].fault
    with pytest.raises(OmnikitError, match=reason):
        registry.resolve(name)


def test_a_distribution_says_for_which_contract_api_it_was_written(installed: Callable[[Points], None]) -> None:
    fits, old = ("style/fits", NONE, "fits"), ("style/old", NONE, "old")
    points = {"omnikit.components": [fits, old], "omnikit.api": [("1", "fits", "fits"), ("0", "old", "old")]}
    installed(points)
    assert registry.resolve("style/fits").__name__ == "NoStyle"
    with pytest.raises(OmnikitError, match="old 1 was written for contract API 0, this omnikit has 1"):
        registry.resolve("style/old")


def test_which_distributions_are_used_can_be_limited(
    installed: Callable[[Points], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [("style/a", NONE, "plugin_a"), ("style/b", NONE, "plugin-b"), ("style/none", NONE, "omnikit-core")]
    for allowed, ids in (
        ("none", ["style/none"]),
        ("Plugin-A", ["style/a", "style/none"]),
        ("plugin_a,plugin-b", ["style/a", "style/b", "style/none"]),
    ):
        monkeypatch.setenv("OMNIKIT_PLUGINS", allowed)
        installed({"omnikit.components": points})
        assert registry.available() == ids
    monkeypatch.setenv("OMNIKIT_PLUGINS", "plugin_c")
    installed({"omnikit.components": points})
    with pytest.raises(UnknownName, match="plugin-a, plugin-b"):
        registry.available()


def test_a_slot_of_a_plugin_takes_components(installed: Callable[[Points], None]) -> None:
    components = [("watermark/lsb", NONE, "marks"), ("watermark/none", NONE, "marks")]
    points = {"omnikit.components": components, "omnikit.slots": [("watermark", "a:SUITE", "marks")]}
    installed(points)
    assert registry.slots()[-1] == "watermark"
    assert registry.available("watermark") == ["watermark/lsb", "watermark/none"]
    installed({**points, "omnikit.slots": [("watermark", "a:S", "marks"), ("style", "a:S", "marks")]})
    assert "style" in registry.SLOTS and registry.slots().count("style") == 1
    with pytest.raises(OmnikitError, match="omnikit's own"):
        registry.resolve_slot("style")
    with pytest.raises(UnknownName, match="watermark"):
        registry.resolve_slot("ears")


SCRATCH = """\
import omnikit
from omnikit.contracts import Contract


@omnikit.register("style/scratch")
class Scratch:
    \"""Nothing yet.\"""

    def __init__(self, dim: int = 4) -> None:
        self.dim = dim

    @classmethod
    def contract(cls, dim: int) -> Contract:
        return Contract()
"""


def test_a_file_registers_its_parts_here_and_in_children(tmp_path: Path) -> None:
    (tmp_path / "scratch.py").write_text(SCRATCH)
    code = (
        "import os, subprocess, sys\nfrom omnikit.cli import main\n"
        f"os.chdir({str(tmp_path)!r})\nassert main(['describe', 'style/scratch', '--plugin', 'scratch.py']) == 0\n"
        "child = 'import omnikit; print(omnikit.create(\"style/scratch\", dim=7).dim)'\n"
        "os.chdir('/')\nsubprocess.run([sys.executable, '-c', child], check=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "this process" in done.stdout and done.stdout.endswith("7\n")


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "is no Python file"), ("x = 1 / 0", "ZeroDivisionError"), ("x = (", "SyntaxError")]
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str | None, reason: str) -> None:
    path = tmp_path / "scratch.py"
    if text is not None:
        path.write_text(text)
    code = f"import sys\nfrom omnikit.cli import main\nsys.exit(main(['ls', '--plugin={path}']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "scratch.py" in done.stderr and reason in done.stderr and "Traceback" not in done.stderr
