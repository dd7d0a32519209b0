"""Figures: targets, intervals, groups, and the table."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

from omnikit.evaluation.figures import Check, Names, at_least, at_most, markdown, mean, percent, shares
from omnikit.metrics.rates import share


def test_a_target_is_reached_by_the_value_and_never_by_nan() -> None:
    assert at_most(10.0).holds(10.0)
    assert not at_most(10.0).holds(10.1)
    assert at_least(75.0).holds(75.0)
    assert not at_least(75.0).holds(74.9)
    assert not at_most(10.0).holds(math.nan)
    assert not at_least(10.0).holds(math.nan)


def test_a_rate_becomes_percent_with_its_interval() -> None:
    figure = percent("part", "name", share([True] * 30 + [False] * 10), "how", at_least(70.0))
    assert figure.value == 75.0
    assert 55.0 < figure.low < 75.0 < figure.high < 92.0
    assert (figure.num_items, figure.reached) == (40, True)


def test_shares_come_whole_and_by_group() -> None:
    items = [SimpleNamespace(right=value) for value in (True, True, False, True)]
    labels = [{"kind": "color"}, {"kind": "color"}, {"kind": "size"}, {}]
    names = Names(["a", "b", "c", "d"], ["first", "first", "second", "second"])
    figures = shares("part", items, labels, [Check("right", "name", "how", at_least(90.0))], ("kind",), names)
    assert [(f.group, f.value, f.num_items, f.reached) for f in figures] == [
        ("", 75.0, 4, False),
        ("kind=color", 100.0, 2, None),
        ("kind=size", 0.0, 1, None),
    ]
    assert [(f.items.ids, f.items.clusters, f.items.errors) for f in figures if f.items is not None] == [
        (["a", "b", "c", "d"], ["first", "first", "second", "second"], [1.0, 1.0, 0.0, 1.0]),
        (["a", "b"], ["first", "first"], [1.0, 1.0]),
        (["c"], ["second"], [0.0]),
    ]


def test_the_table_shows_every_figure_once_and_says_what_could_not_be_measured() -> None:
    figures = [
        mean("voice", "F0 error", [1.0, 2.0, 3.0], "a", "semitones", at_most(3.0)),
        replace(mean("voice", "F0 error", [1.0], "a", "semitones"), group="emotion=sad"),
        mean("voice", "level", [], "b", "dB", at_most(3.0)),
    ]
    lines = markdown(figures).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| voice | F0 error | 2.00 semitones [1.")
    assert lines[2].endswith("| 3 | ≤ 3 semitones | yes | a |")
    assert lines[3] == "|  | level | not measurable | 0 | ≤ 3 dB | **no** | b |"


def test_json_holds_no_nan() -> None:
    figure = mean("voice", "level", [], "b", "dB", at_most(3.0))
    text = json.dumps(figure.as_dict(), allow_nan=False)
    assert json.loads(text)["value"] is None
