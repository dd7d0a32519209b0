"""A voice that is shown a style hears another text in that style, and is judged like one that is told."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from omnikit.cli.config import compose_config
from omnikit.cli.eval import trained_system
from omnikit.data.records import read_records
from omnikit.evaluation.detokenizer import round_trips
from omnikit.evaluation.references import references_of, shows_style
from omnikit.system import System


def hears(views: set[str], factors: dict[str, Any]) -> System:
    module = SimpleNamespace(views=frozenset(views), factors=factors)
    return cast(System, SimpleNamespace(part=lambda slot: module))


def variant(record: Any, number: int, text: str | None = None, style: dict[str, str] | None = None) -> Any:
    """A voice record with a text and a rendering of its own, in the style of `record` or another one."""
    made = copy.deepcopy(record)
    made["id"] = f"voice.{number}"
    message = made["messages"][0]
    message["text"] = text or f"text {number}"
    message["rendering"]["audio"]["path"] = f"{number}.flac"
    message["rendering"]["style"] = style or message["rendering"]["style"]
    return made


def test_a_reference_says_another_text_in_the_style_that_is_asked_for(corpus: Path, tmp_path: Path) -> None:
    first, *_ = read_records(corpus / "voice.train.jsonl")
    lone = {"emotion": "sad", "speed": "slow", "pitch": "low", "gender": "male"}
    rows = {
        "voice.train": [variant(first, 0), variant(first, 1), variant(first, 2), variant(first, 3, style=lone)],
        "voice.test": [variant(first, 4), variant(first, 5, text="one")],
        "voice.test_style": [],
    }
    for name, records in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    shown = hears({"audio"}, {})
    records = [variant(first, 1), variant(first, 3, style=lone)]
    found = references_of(shown, tmp_path, records, seed=0)
    assert found == references_of(shown, tmp_path, records, seed=0)
    assert found[0] in (tmp_path / "0.flac", tmp_path / "2.flac"), "another recording of the training files"
    assert found[1] == tmp_path / "3.flac", "no other recording has its style"


@pytest.mark.parametrize("views, factors", [(set(), {}), ({"audio"}, {"emotion": ("sad",)})])
def test_what_knows_labels_or_hears_nothing_is_shown_nothing(
    views: set[str], factors: dict[str, Any], corpus: Path
) -> None:
    records = list(read_records(corpus / "voice.test.jsonl"))[:2]
    assert references_of(hears(views, factors), corpus, records, 0) == [None, None]


def test_a_reference_module_is_made_from_the_detokenizer_and_speaks_in_the_styles_it_is_shown(corpus: Path) -> None:
    config = compose_config("eval", ["experiment=emova_tiny", "style=reference", f"data.path={corpus}"])
    system = trained_system(config)
    assert shows_style(system)
    record = next(read_records(corpus / "voice.test.jsonl"))
    trip = round_trips(system, corpus, [record], 0)[0]
    assert trip.has_pitch and trip.errors <= trip.num_phones // 2
