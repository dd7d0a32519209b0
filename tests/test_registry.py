"""One id, one verb: listing without importing, creating, and errors that name the closest right word."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import omnikit
from omnikit import registry
from omnikit.errors import OmnikitError, UnknownName


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


def test_two_owners_of_one_id_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [_Point("style/x", "a:A", "one"), _Point("style/x", "b:B", "two")]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    registry.entries.cache_clear()
    try:
        with pytest.raises(OmnikitError, match=r"one \(a:A\) and two \(b:B\)"):
            registry.entries()
    finally:
        registry.entries.cache_clear()


def test_a_broken_plugin_names_its_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: [_Point("style/x", "no_such_module:A", "broken-plugin")]
    )
    registry.entries.cache_clear()
    try:
        with pytest.raises(OmnikitError, match=r"broken-plugin 1 is broken: No module named 'no_such_module'"):
            registry.resolve("style/x")
    finally:
        registry.entries.cache_clear()
