"""Variants are read without Hydra and mean what they mean to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import omnikit
from omnikit import variants as module
from omnikit.cli.config import compose_config
from omnikit.contracts import bind_parameters
from omnikit.errors import OmnikitError, UnknownName
from omnikit.registry import available, resolve, slots
from omnikit.variants import merged, read_variant, variants

CHAINED = ["tokenizer/spiral_vq_tiny", "style/label_centroid_24", "detokenizer/uvits_tiny_hifigan"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_folders", lambda: [tmp_path])
    (tmp_path / "tokenizer").mkdir()
    return tmp_path / "tokenizer"


def plain(value: Any) -> Any:
    if isinstance(value, dict) or hasattr(value, "items"):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_every_variant_is_one_of_a_component_and_its_parameters() -> None:
    every = [item for slot in slots() for item in variants(slot)]
    assert {"tokenizer/spiral_vq", "backbone/qwen2_5_7b", "projector/mlp_linear"} <= set(every)
    for variant in every:
        component_id, changes = read_variant(variant)
        assert component_id in available(component_id.split("/")[0]), variant
        bind_parameters(component_id, resolve(component_id), changes)


@pytest.mark.parametrize("variant", CHAINED)
def test_a_variant_is_what_hydra_composes(variant: str) -> None:
    slot, _, name = variant.partition("/")
    node = compose_config("train", [f"{slot}={name}"])[slot]
    component_id, changes = read_variant(variant)
    assert node["component"] == component_id
    alone = plain(merged(bind_parameters(component_id, resolve(component_id), {}), changes))
    assert {name: plain(value) for name, value in node.items() if name in alone} == alone


def test_a_part_is_made_from_a_variant_and_parameters_over_it() -> None:
    small = {"widths": [8, 12, 16, 12], "heads": [2, 3], "position": [8, 4], "layers": [1, 1], "num_mels": 16}
    tokenizer = omnikit.create("tokenizer/spiral_fsq_tiny", **small, levels=[5, 4])
    assert type(tokenizer) is resolve("tokenizer/spiral_fsq")
    assert tokenizer.parameters_given["num_phones"] == 42
    assert tokenizer.sizes == (20,)
    told = omnikit.describe("tokenizer/spiral_fsq_tiny")
    assert (told.id, told.parameters["reduced"]) == ("tokenizer/spiral_fsq", False)
    with pytest.raises(UnknownName, match="Unknown component 'tokenizer/spiral_fsc'"):
        omnikit.create("tokenizer/spiral_fsc")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: [mine, _self_]\n", "starts from itself"),
        ("reduced: true\n", "no variant that can be read alone"),
        ("defaults: [spiral_fsq, _self_, {override /stage: sft}]\n", "no variant that can be read alone"),
        ("- 1\n", "no variant that can be read alone"),
        ("defaults: [\n", "is no YAML"),
        ("a: !!python/object/apply:os.system [echo]\n", "is no YAML"),
    ],
)
def test_a_file_that_is_more_or_less_than_a_variant_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(OmnikitError, match=said):
        read_variant("tokenizer/mine")


@pytest.mark.parametrize("name", ["tokenizer/../secret", "../secret", "tokenizer//secret", "tokenizer/a.b", "secret"])
def test_a_variant_is_asked_for_by_name_and_never_by_a_path(folder: Path, name: str) -> None:
    (folder.parent / "secret.yaml").write_text("defaults: [spiral_fsq, _self_]\nreduced: true\n", encoding="utf-8")
    assert read_variant(name) == (name, {})


def test_a_group_is_changed_key_by_key_and_a_list_as_a_whole() -> None:
    below = {"a": {"x": 1, "y": [1, 2]}, "b": 3}
    assert merged(below, {"a": {"y": [5]}, "c": {}}) == {"a": {"x": 1, "y": [5]}, "b": 3, "c": {}}
    assert below == {"a": {"x": 1, "y": [1, 2]}, "b": 3}
