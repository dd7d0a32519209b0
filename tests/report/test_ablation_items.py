"""Rows of `omnikit eval` in a report: means and ratios over items have all three intervals, whatever the part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report.synthetic_sweep import status, write_json, write_lines

from omnikit.cli import main
from omnikit.evaluation.answers import Answer
from omnikit.evaluation.figures import Check, Figure, mean, shares, summed
from omnikit.evaluation.jointness import Seen
from omnikit.evaluation.language import Judged
from omnikit.evaluation.material import by_text, by_voice
from omnikit.evaluation.scores import score_records
from omnikit.evaluation.voice_control import Pair, Take, control_figures
from omnikit.metrics.voice import Voice
from omnikit.report.ablation_folder import read_sweep
from omnikit.report.ablation_results import Results, evaluate

ARMS, SEEDS = {"whole": 0.7, "part": 0.5}, (0, 1, 2)
RECORDS = [
    {"id": f"r{number}", "messages": [{"audio": {"voice": f"voice{number % 8}"}, "text": "x"}]} for number in range(48)
]
PRIMARY = "spoken_answers.all_four_right_known_voices"
METRICS = (
    "language.answers_right",
    "language.word_error_rate_any_text",
    "language.text_to_units_word_error_read_back",
    PRIMARY,
    "jointness.emotion_right",
    "voice.mel_cepstral_distance",
    "control.f0_off_the_rule",
    "control.f0_moves_in_the_declared_direction",
)


def figures(rng: np.random.Generator, good: float) -> list[Figure]:
    """What a system that is right with probability `good` gets, made by the functions that judge."""

    def right() -> bool:
        return bool(rng.random() < good)

    kinds = [{"kind": "color"}] * len(RECORDS)
    voices, texts = by_voice(RECORDS), by_text(RECORDS)
    words = [10] * len(RECORDS)
    errors = rng.binomial(10, 1 - good, len(RECORDS)).tolist()
    judged = [Judged(right(), True, True, False) for _ in RECORDS]
    answers = [Answer(*[right()] * 4, False, True, True, True, None) for _ in RECORDS]
    distances = (6 + rng.random(len(RECORDS)) - good).tolist()
    plain = Voice(1.0, 100.0, -26.0, -8.0)
    pairs = []
    for record in RECORDS:
        shift = 2.5 * good + rng.normal(0, 2)
        styled = Take(Voice(1.0, 100.0 * 2 ** (shift / 12), -26.0, -8.0), 1, 10)
        pairs.append(Pair(str(record["id"]), "pitch=high", {"gender": "female"}, styled, Take(plain, 0, 10)))
    return [
        *shares("language", judged, kinds, [Check("exact", "answers right", "")], ("kind",), voices),
        summed("language", "word error rate, any text", voices.items(errors, words), ""),
        summed("language", "text to units, word error read back", texts.items(errors, words), ""),
        *shares("spoken answers", answers, kinds, [Check("all_right", "all four right, known voices", "")], (), voices),
        *shares(
            "jointness",
            [Seen(right(), False) for _ in RECORDS],
            kinds,
            [Check("right", "emotion right", "")],
            (),
            voices,
        ),
        mean("voice", "mel-cepstral distance", distances, "", "dB", items=voices.items(distances)),
        *control_figures(pairs),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, cells = tmp_path_factory.mktemp("sweep"), []
    for arm, good in ARMS.items():
        for seed in SEEDS:
            cells.append({"id": f"{arm}-{seed}", "arm": arm, "seed": seed})
            own = place / "cells" / f"{arm}-{seed}"
            write_json(own / "status.json", status("done"))
            made = figures(np.random.default_rng([seed, len(arm)]), good)
            write_lines(own / "scores.jsonl", list(score_records(made, "f" * 64, 0)))
    arms = [{"name": arm, "overrides": [], "pruned": None} for arm in ARMS]
    about = {"format": 1, "name": "items", "question": "?", "kind": "one_at_a_time", "baseline": "whole"}
    write_json(place / "sweep.json", {**about, "primary": PRIMARY, "seeds": list(SEEDS), "arms": arms, "cells": cells})
    return place


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return evaluate(read_sweep(folder))


@pytest.mark.parametrize("metric", METRICS)
def test_every_row_has_three_intervals(metric: str, results: Results) -> None:
    assert results.problems == ()
    (column,) = [column for column in results.columns if column.metric == metric]
    entry = results.entry("part", column)
    assert entry is not None and entry.difference is not None and entry.over_items is not None
    found = entry.difference
    assert found.training is not None and found.test_set is not None and found.both is not None
    assert found.scope == "both" and found.both.error >= max(found.training.error, found.test_set.error)
    items = entry.trials.items
    assert items is not None and len(items.names) == len(RECORDS)
    clustered_by_voice = metric.startswith(("language.answers", "language.word", "spoken", "jointness", "voice"))
    assert len(set(items.clusters.tolist())) == (8 if clustered_by_voice else len(RECORDS))


def test_the_report_shows_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| part | −")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [cell.startswith("[") for cell in cells[2:5]] == [True] * 3
    assert "over other seeds and items" in cells[6] and cells[8] in ("lower", "not told apart")
