"""Twelve ways to be wrong, and a few more: bad plugins, installed like any other, and the whole kit held to each.

Each fails the check whose promise it breaks and no other, in words that say what to do.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import omnikit.testing
from omnikit import registry
from omnikit.cli import main
from omnikit.cli.new import write_plugin
from omnikit.testing import craft

SITE = Path(__file__).parent / "twelve_ways"

WAYS = {
    "torch_at_import": ("projector/heavy", "its_package_is_light", "import in the component's module"),
    "no_licence": ("projector/unlicensed", "its_licence_is_declared", "write `license ="),
    "no_source": ("projector/no_source", "says_its_contract_and_its_source", "say what goes in and out"),
    "signature_differs_from_config": ("projector/loose_signature", "its_signature_is_its_schema", "annotate it"),
    "reads_pickles": ("projector/reads_pickles", "runs_no_code_from_files", "keep weights in safetensors"),
    "pickles_its_state": ("projector/saves_a_pickle", "is_saved_and_loaded_whole", "write JSON or text"),
    "global_rng": ("projector/draws_globally", "leaves_global_random_state_alone", "draw from the one that is given"),
    "dropout_in_eval": ("projector/drops_in_evaluation", "repeats", "switch dropout off in evaluation"),
    "batch_not_single": ("projector/mixes_rows", "batch_equals_singles", "compute it from itself alone"),
    "wrong_rate": ("projector/keeps_the_rate", "keeps_the_clock", "change the rate as the positions"),
    "lengths_wrong": ("projector/miscounts_rows", "embeds_are_as_declared", "count those that come out"),
    "nan_let_through": ("tokenizer/lets_nan_through", "refuses_bad_sound", "it must raise a subclass of OmnikitError"),
    "stream_differs_from_offline": (
        "tokenizer/hears_pieces",
        "streams_as_declared",
        "how sound is cut must not matter",
    ),
    "state_of_a_call_kept": ("projector/keeps_state", "threads_do_not_disturb_each_other", "in variables"),
    "tensor_hidden_from_to": ("projector/hides_a_tensor", "moves_as_a_whole", "register them as buffers"),
    "contract_allocates": ("projector/contract_allocates", "contract_is_arithmetic", "compute numbers only"),
    "overflow_in_half": ("projector/not_in_half", "runs_under_bfloat16", "compute that part in float32"),
    "other_when_compiled": ("projector/sees_the_compiler", "compiles", "leave Python state out of forward"),
}
ALSO = {
    # whoever draws in evaluation fails wherever two results are held against each other
    "dropout_in_eval": {
        "leaves_global_random_state_alone",
        "is_saved_and_loaded_whole",
        "threads_do_not_disturb_each_other",
        "compiles",
        "batch_equals_singles",
    },
    # lengths are what positions and seconds are counted by
    "lengths_wrong": {"positions_are_known_before", "keeps_the_clock"},
}


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The bad distributions on the path, as pip would leave them, beside the honest tokenizer that some are made of."""
    honest = write_plugin("tokenizer", "plain_codec", tmp_path_factory.mktemp("plain")) / "src"
    sys.path += [str(SITE), str(honest)]
    registry.entries.cache_clear()
    yield
    sys.path.remove(str(SITE))
    sys.path.remove(str(honest))
    registry.entries.cache_clear()


@pytest.mark.parametrize("way", WAYS)
def test_a_way_to_be_wrong_is_caught_by_its_check_and_by_no_other(way: str) -> None:
    component_id, promise, what_to_do = WAYS[way]
    broken = {result.case: result for result in omnikit.testing.check(component_id) if result.failed}
    assert set(broken) == {promise} | ALSO.get(way, set()), "\n".join(map(str, broken.values()))
    assert what_to_do in broken[promise].detail


def test_raises_at_import_is_told_by_every_verb_and_hurts_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "projector/raises_at_import"]) == 2
    told = capsys.readouterr().err
    assert "FileNotFoundError: weights.safetensors is not in the working directory" in told
    assert "Reinstall or uninstall omnikit-bad; every other component goes on working." in told
    assert main(["ls", "projector"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "broken: FileNotFoundError" in rows["projector/raises_at_import"]
    assert "broken" not in rows["projector/honest"] + rows["projector/mlp"]


def test_an_honest_one_keeps_every_promise() -> None:
    results = omnikit.testing.check("projector/honest")
    assert [str(result) for result in results if result.failed] == []


def test_every_promise_about_the_making_is_broken_above() -> None:
    assert {hold.__name__ for hold in craft.CASES} <= {promise for _, promise, _ in WAYS.values()}


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
    (case,) = [case for case in omnikit.testing.cases("projector") if case.name == "keeps_the_clock"]
    result = case.run(omnikit.testing.subject("projector/honest"))
    assert result.failed
    assert "no such luck" in result.detail and "test_twelve_ways_to_be_wrong.py, line" in result.detail
