"""Bad plugins, installed like any other: each is caught by the check whose promise it breaks, in words that help."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import omnikit.testing
from omnikit import registry
from omnikit.testing import craft

SITE = Path(__file__).parent / "twelve_ways"

WAYS = {
    "no_source": ("says_its_contract_and_its_source", "no line 'Contract:'"),
    "loose_signature": ("its_signature_is_its_schema", "annotate it"),
    "unlicensed": ("its_licence_is_declared", "write `license ="),
    "heavy": ("its_package_is_light", "import in the component's module"),
    "reads_pickles": ("runs_no_code_from_files", "keep weights in safetensors"),
    "keeps_state": ("threads_do_not_disturb_each_other", "keep what belongs to a call in variables"),
    "not_in_half": ("runs_under_bfloat16", "hold NaN or infinity"),
    "sees_the_compiler": ("compiles", "leave Python state out of forward"),
    "saves_a_pickle": ("is_saved_and_loaded_whole", "extra.json is a pickle"),
    "draws_globally": ("leaves_global_random_state_alone", "global generator of torch"),
    "mixes_rows": ("batch_equals_singles", "row 0 differs in a batch"),
    "hides_a_tensor": ("moves_as_a_whole", "leaves behind: scale"),
    "contract_allocates": ("contract_is_arithmetic", "compute numbers only"),
}


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    """The bad distributions on the path, as pip would leave them."""
    sys.path.append(str(SITE))
    registry.entries.cache_clear()
    yield
    sys.path.remove(str(SITE))
    registry.entries.cache_clear()


def run(name: str, promise: str) -> omnikit.testing.Result:
    (case,) = [case for case in omnikit.testing.cases("projector") if case.name == promise]
    return case.run(omnikit.testing.subject(f"projector/{name}"))


@pytest.mark.parametrize(("name", "promise", "words"), [(name, *way) for name, way in WAYS.items()], ids=WAYS)
def test_a_way_to_be_wrong_is_caught_by_its_check(name: str, promise: str, words: str) -> None:
    result = run(name, promise)
    assert result.failed, str(result)
    assert words in result.detail


def test_an_honest_one_keeps_every_promise() -> None:
    results = omnikit.testing.check("projector/honest")
    assert [str(result) for result in results if result.failed] == []


def test_every_promise_about_the_making_is_broken_above() -> None:
    assert {hold.__name__ for hold in craft.CASES} <= {promise for promise, _ in WAYS.values()}


def test_weights_without_a_licence_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from omnikit.artefacts import save_component

    package = tmp_path / "omnikit_with_weights"
    shutil.copytree(SITE / "omnikit_bad", package)
    component = omnikit.create("projector/honest")
    save_component(component, package / "weights" / "small")
    monkeypatch.syspath_prepend(tmp_path)
    assert craft._unlicensed_weights("omnikit_with_weights") == [str(Path("weights") / "small")]
    craft._unlicensed_weights.cache_clear()
    save_component(component, package / "weights" / "small", provenance={"licence": "CC0-1.0"})
    assert craft._unlicensed_weights("omnikit_with_weights") == []


def test_what_raises_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, frames: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(registry.resolve("projector/honest"), "project", fail)
    result = run("honest", "keeps_the_clock")
    assert result.failed
    assert "no such luck" in result.detail and "test_twelve_ways.py, line" in result.detail
