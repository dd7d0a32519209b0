"""What is said of a sweep with known effects: which arm differs, what shares a column, what is missing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report.synthetic_sweep import BASELINE, BROKEN, EFFECTS, EQUAL, PRUNED, WORSE, make_sweep

from omnikit.report.ablation_against import against, difference_of
from omnikit.report.ablation_costs import is_told, study_cost_table, whole_study
from omnikit.report.ablation_folder import Confusion, read_sweep
from omnikit.report.ablation_plots import knob_plot, pareto
from omnikit.report.ablation_results import Results, evaluate
from omnikit.report.ablation_tables import (
    cost_table,
    cost_text,
    difference_table,
    number,
    p_text,
    result_tables,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return evaluate(read_sweep(folder))


def test_the_arm_that_is_worse_is_found_and_the_equal_one_is_not(results: Results) -> None:
    (column,) = results.primary
    worse, equal = results.entry(WORSE, column), results.entry(EQUAL, column)
    assert worse is not None and equal is not None and worse.difference is not None
    assert worse.difference.value == pytest.approx(EFFECTS[WORSE], abs=0.02)
    assert (worse.verdict, equal.verdict) == ("higher", "not told apart")
    assert worse.p_holm > worse.p
    assert worse.shows == pytest.approx(2.9 * worse.difference.test_set.error, rel=0.1)  # type: ignore[union-attr]


def test_only_the_declared_metric_is_tested(results: Results) -> None:
    for column in results.columns:
        found = [entry for arm in results.arms if (entry := results.entry(arm.name, column))]
        if column.metric != "phone_error":
            assert all(math.isnan(entry.p) and not entry.verdict for entry in found)
            assert "p" not in difference_table(results, column).head


def test_different_signatures_never_share_a_column(results: Results) -> None:
    words = [column for column in results.columns if column.metric == "word_error"]
    assert [column.title for column in words] == ["word_error (a)", "word_error (b)"]
    first, second = words
    assert results.entry(EQUAL, first) is None and results.entry(BASELINE, second) is None
    assert results.entry(EQUAL, second).difference is None  # type: ignore[union-attr]
    for column in results.columns:
        shared = {
            score.signature
            for cell in results.sweep.cells
            for score in cell.scores
            if (score.metric, score.signature) == column.key
        }
        assert shared == {column.signature}


def test_failed_and_pruned_arms_stay_as_rows_with_their_reasons(results: Results) -> None:
    rows = {row[0].text: row for row in result_tables(results)[0].rows}
    assert list(rows) == [f"{BASELINE} (baseline)", WORSE, EQUAL, BROKEN, PRUNED]
    assert rows[BROKEN][1].text == "2/3 done, 1 failed"
    assert "(2 of 3)" in rows[BROKEN][2].text
    assert rows[PRUNED][1].text == "pruned"
    reasons = {arm.name: arm.reasons for arm in results.arms}
    assert reasons[BROKEN] == ("seed 2: CUDA out of memory",)
    assert reasons[PRUNED] == ("50 Hz units, 25 Hz wanted",)


def test_a_metric_that_an_arm_lacks_is_not_measured(results: Results) -> None:
    table = next(table for table in result_tables(results) if "bit_rate, bit/s" in table.head)
    rows = {row[0].text: row for row in table.rows}
    place = table.head.index("bit_rate, bit/s")
    assert rows[WORSE][place].text == "not measured"
    assert rows[PRUNED][place].text == "–"


def test_one_seed_has_no_spread_and_no_sign_of_it(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path)
    plan = json.loads((folder / "sweep.json").read_text())
    plan["seeds"], plan["cells"] = [0], [cell for cell in plan["cells"] if cell["seed"] == 0]
    (folder / "sweep.json").write_text(json.dumps(plan))
    results = evaluate(read_sweep(folder))
    texts = [box.text for row in result_tables(results)[0].rows for box in row]
    assert not any("±" in text for text in texts)
    assert any("(1 seed)" in text for text in texts)
    (column,) = results.primary
    found = results.entry(WORSE, column)
    assert found is not None and found.difference is not None
    assert found.difference.training is None and found.difference.both is None
    assert found.difference.scope == "test_set"


def test_items_in_another_order_are_the_same_items(tmp_path: Path, results: Results) -> None:
    folder = make_sweep(tmp_path)
    path = folder / "cells" / f"{WORSE}-1" / "scores.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    order = np.random.default_rng(0).permutation(len(rows[0]["items"]))
    for key in ("errors", "lengths", "items", "clusters"):
        rows[0][key] = [rows[0][key][place] for place in order]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (column,) = results.primary
    assert evaluate(read_sweep(folder)).entry(WORSE, column) is not None
    again, before = evaluate(read_sweep(folder)).entry(WORSE, column), results.entry(WORSE, column)
    assert again is not None and before is not None
    assert again.difference == before.difference


def test_other_items_under_one_signature_lose_their_interval_and_it_is_said(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path)
    path = folder / "cells" / f"{WORSE}-1" / "scores.jsonl"
    path.write_text(path.read_text().replace("utt007", "utt999"))
    results = evaluate(read_sweep(folder))
    (column,) = results.primary
    found = results.entry(WORSE, column)
    assert found is not None and found.over_items is None and found.difference is not None
    assert found.difference.scope == "training"
    assert any("lacks scores of the same items" in problem for problem in results.problems)


def test_the_best_arm_shares_its_mark_with_those_it_cannot_be_told_from(results: Results) -> None:
    (column,) = results.primary
    best = {arm.name for arm in results.arms if (entry := results.entry(arm.name, column)) and entry.best}
    assert {BASELINE, EQUAL} <= best and WORSE not in best
    rate = next(column for column in results.columns if column.metric == "bit_rate")
    undecided = [results.entry(arm.name, rate) for arm in results.arms]
    assert not any(entry.best for entry in undecided if entry)


def test_costs_are_means_of_finished_runs(results: Results) -> None:
    arm = next(arm for arm in results.arms if arm.name == BROKEN)
    costs = [cell.cost["wall_s"] for cell in arm.cells if cell.done]
    assert arm.cost["wall_s"] == pytest.approx(np.mean(costs))
    assert arm.cost["tokens_per_s"] == pytest.approx(2 * 1.2e6 / sum(costs))
    table = cost_table(results)
    assert table is not None and "parameters, M" in table.head
    assert cost_text({"parameters": 2.1e6}, "parameters") == "2.1"
    assert cost_text({"odd": 1234.5}, "odd") == "1 234"


def test_what_arms_share_is_in_what_each_takes_alone_and_once_in_the_study(tmp_path: Path, results: Results) -> None:
    """All arms but one share a tokenizer of ten minutes; everyone has a detokenizer of a minute a seed of its own."""
    folder = make_sweep(tmp_path / "shared")
    for place in (folder / "cells").iterdir():
        told = json.loads((place / "status.json").read_text())
        arm, _, seed = place.name.rpartition("-")
        key = "own" if arm == WORSE else "common"
        told["cost"] |= {"evaluation_s": 30.0, "steps": 5}
        told["trainings"] = [
            {"key": key, "stage": "tokenizer", "wall_s": 600.0, "cpu_s": 500.0, "flops": 4e12},
            {"key": f"{arm}{seed}", "stage": "detokenizer", "wall_s": 60.0, "cpu_s": 60.0, "flops": 1e12},
        ]
        (place / "status.json").write_text(json.dumps(told))
    found = evaluate(read_sweep(folder))
    table = study_cost_table(found)
    assert table is not None and table.head[4:6] == ("alone, min", "own, min")
    rows = {row[0].text: [box.text for box in row[1:]] for row in table.rows}
    assert rows[EQUAL] == ["3", "4", "1", "14.5", "4.5", "7", "3"], "three detokenizers and evaluations are its own"
    assert rows[WORSE] == ["3", "4", "0", "14.5", "14.5", "7", "7"]
    assert rows[BROKEN] == ["2", "3", "1", "13.0", "3.0", "6", "2"], "of finished runs alone"
    assert rows[PRUNED] == ["0", *["–"] * 6]
    assert rows["the whole study, each training once"] == ["11", "13", "–", "–", "36.5", "–", "19"]
    assert whole_study(found).seconds == 2 * 600 + 11 * (60 + 30)
    assert not is_told(results) and study_cost_table(results) is None, "runs of an earlier version do not tell"
    torn = next((folder / "cells").iterdir()) / "status.json"
    torn.write_text(torn.read_text().replace('"wall_s": 60.0', '"wall_s": "long"'))
    assert not is_told(evaluate(read_sweep(folder)))


def test_numbers_are_written_with_care() -> None:
    assert (number(-0.04, 1), number(-1.25, 2), number(3.0, 0)) == ("0.0", "−1.25", "3")
    assert (p_text(0.0002), p_text(0.0421), p_text(0.5), p_text(math.nan)) == ("< 0.001", "0.042", "0.50", "–")


def test_a_study_along_one_axis_is_drawn_over_its_values(tmp_path: Path, results: Results) -> None:
    (column,) = results.primary
    drawn = knob_plot(results, column, 0)
    assert drawn is not None
    assert ">tokenizer<" in drawn and f">{BASELINE}<" in drawn
    folder = make_sweep(tmp_path)
    plan = json.loads((folder / "sweep.json").read_text())
    plan["arms"][0]["overrides"] = ["style=none"]
    (folder / "sweep.json").write_text(json.dumps(plan))
    assert knob_plot(evaluate(read_sweep(folder)), column, 0) is None


def test_wide_tables_are_cut(results: Results) -> None:
    long = [replace(column, metric=f"part.{'long_' * 8}{number}") for number, column in enumerate(results.columns)]
    tables = result_tables(replace(results, columns=tuple(long), entries={}))
    assert [len(table.head) - 2 for table in tables] == [2, 2, 2]
    assert tables[1].title == "Results, columns 3 to 4"


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = [(1.0, 5.0), (2.0, 4.0), (2.0, 6.0), (3.0, 4.5), (4.0, 1.0)]
    assert pareto(points, higher_is_better=False) == [(1.0, 5.0), (2.0, 4.0), (4.0, 1.0)]
    assert pareto(points, higher_is_better=True) == [(1.0, 5.0), (2.0, 6.0)]


def test_confusions_are_added_up_over_seeds(results: Results) -> None:
    column = next(column for column in results.columns if column.metric == "emotion_right")
    matrix = results.confusions(BASELINE, column)
    assert matrix is not None
    cells = results.sweep.cells_of(BASELINE)
    single = [score.confusion.counts for cell in cells for score in cell.scores if score.confusion]
    assert len(single) == 3
    assert np.array_equal(matrix.counts, sum(single))


def test_what_only_one_seed_heard_has_a_column_of_its_own(results: Results) -> None:
    column = next(column for column in results.columns if column.metric == "emotion_right")
    cells = list(results.sweep.cells_of(BASELINE))
    (score,) = [score for score in cells[1].scores if score.confusion]
    other = replace(score, confusion=Confusion(("sad", "calm"), ("calm", "sad"), np.array([[1, 2], [4, 8]])))
    cells[1] = replace(cells[1], scores=(other,))
    arms = [replace(arm, cells=tuple(cells)) if arm.name == BASELINE else arm for arm in results.arms]
    matrix = replace(results, arms=tuple(arms)).confusions(BASELINE, column)
    before = [score.confusion for cell in (cells[0], cells[2]) for score in cell.scores if score.confusion]
    assert matrix is not None
    assert matrix.asked == matrix.heard == ("neutral", "happy", "sad", "angry", "calm")
    assert matrix.counts[4].tolist() == [0, 0, 8, 0, 4]
    assert matrix.counts[2, 2] == sum(item.counts[2, 2] for item in before) + 2


def test_two_sweeps_compare_arms_of_equal_name(tmp_path: Path, results: Results) -> None:
    same = against(results, results)
    assert same.refused == ()
    assert all(pair.difference.value == 0 for pair in same.pairs)
    other = evaluate(read_sweep(make_sweep(tmp_path, name="before", seed=5)))
    found = next(
        pair for pair in against(results, other).pairs if (pair.arm, pair.column.metric) == (WORSE, "phone_error")
    )
    assert found.difference.value == pytest.approx(found.here.trials.mean - found.there.trials.mean)
    assert found.difference.both is not None


def test_other_signatures_are_refused_with_the_part_that_differs(tmp_path: Path, results: Results) -> None:
    other = evaluate(read_sweep(make_sweep(tmp_path, data="aaaaaa")))
    found = against(results, other)
    assert not [pair for pair in found.pairs if pair.column.metric == "phone_error"]
    assert "phone_error is not compared: here data:4f2a91, there data:aaaaaa" in found.refused
    assert difference_of("a|b", "a|b|c") == "here nothing, there c"
