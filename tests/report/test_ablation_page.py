"""The files of a report: self-contained, equal in their numbers, safe against foreign text, whole after damage."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from report.synthetic_sweep import BASELINE, BROKEN, PRUNED, WORSE, make_sweep

from omnikit.cli import main
from omnikit.metrics.loudness import loudness
from omnikit.report.ablation_folder import read_sweep
from omnikit.report.ablation_listening import Spoken, equally_loud, prompts
from omnikit.report.ablation_writers import latex_text

FILES = ("report.html", "report.md", "tables.tex", "results.csv", "results.jsonl")
VOID = {"meta", "input", "br", "wbr", "link", "img", "hr"}


class Outline(HTMLParser):
    """Checks that tags close in order; collects ids, links and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.addresses: list[str] = []
        self.drawing = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.targets.append(str(found["href"]).removeprefix("#"))
        elif found.get("src") or found.get("href"):
            self.addresses.append(str(found.get("src") or found.get("href")))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sweeps")
    make_sweep(place / "before", name="before", seed=4)
    folder = make_sweep(place / "sweep")
    assert main(["report", str(folder), "--against", str(place / "before")]) == 0
    return folder


def read(folder: Path, name: str) -> str:
    return (folder / "report" / name).read_text(encoding="utf-8")


def test_every_file_is_there_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in (folder / "report").iterdir()) == sorted(FILES)


def test_the_page_needs_nothing_beside_it(folder: Path) -> None:
    page = read(folder, "report.html")
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.targets) <= set(outline.ids)
    assert all(address.startswith(("data:", "#")) for address in outline.addresses)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest", page)
    assert "prefers-color-scheme: dark" in page


def test_plots_are_valid_drawings_that_follow_the_colours_of_the_page(folder: Path) -> None:
    drawings = re.findall(r"<svg.*?</svg>", read(folder, "report.html"), flags=re.S)
    assert len(drawings) > 8
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label")
        assert root.get("role") == "img"
        assert "var(--" in drawing
        assert not re.search(r"#0102", drawing)


def test_counts_are_drawn_and_stand_in_tables(folder: Path) -> None:
    page = read(folder, "report.html")
    use = page[page.index('<section id="units">') :].split("</section>")[0]
    assert use.count("<svg") == 1 and 'tabindex="0"' in use and "math" not in use
    labels = re.findall(r"[\w ]+: (\d+) entries", use)
    assert sorted(labels) == ["512", "512", "512", "64"], "an arm is named once, however many seeds it has"
    maps = page[page.index('<section id="confusions">') :].split("</section>")[0]
    assert maps.count("<svg") == maps.count("<table>") == 4
    assert maps.count('tabindex="0"') >= 8 and "neutral" in maps and "<image" not in maps


def test_every_table_has_a_caption_and_heads_with_a_scope(folder: Path) -> None:
    tables = re.findall(r"<table>.*?</table>", read(folder, "report.html"), flags=re.S)
    assert tables
    for table in tables:
        assert "<caption>" in table
        assert all("scope=" in head for head in re.findall(r"<th\b[^>]*>", table))
        assert '<th scope="row">' in table


def test_machine_files_and_tables_have_equal_numbers(folder: Path) -> None:
    lines = [json.loads(line) for line in read(folder, "results.jsonl").splitlines()]
    rows = list(csv.DictReader(io.StringIO(read(folder, "results.csv"))))
    row = next(row for row in rows if (row["arm"], row["metric"]) == (WORSE, "phone_error"))
    values = [line["value"] for line in lines if (line["arm"], line["metric"]) == (WORSE, "phone_error")]
    assert len(values) == 3
    assert float(row["mean"]) == pytest.approx(np.mean(values), abs=1e-15)
    assert float(row["sd"]) == pytest.approx(np.std(values, ddof=1))
    shown = f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f} (3)"
    assert shown in read(folder, "report.md")
    assert shown.replace("±", r"$\pm$") in read(folder, "tables.tex")
    assert shown in read(folder, "report.html")


def test_failed_runs_are_in_every_file(folder: Path) -> None:
    for name in FILES:
        text = read(folder, name)
        assert "out of memory" in text
        assert PRUNED in text or PRUNED.replace("_", r"\_") in text
    failed = [json.loads(line) for line in read(folder, "results.jsonl").splitlines() if '"failed"' in line]
    assert [(line["arm"], line["seed"], line["metric"]) for line in failed] == [(BROKEN, 2, None)]


def test_every_row_of_latex_has_as_many_cells_as_its_head(folder: Path) -> None:
    tables = re.findall(r"\\begin{tabular}{(\w+)}(.*?)\\end{tabular}", read(folder, "tables.tex"), flags=re.S)
    assert len(tables) > 5
    for kinds, inside in tables:
        rows = [line for line in inside.splitlines() if line.endswith(r"\\")]
        assert rows
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(kinds) - 1 for row in rows)
        assert [rule for rule in (r"\toprule", r"\midrule", r"\bottomrule") if rule not in inside] == []
        assert not any(row.startswith("[") for row in rows)


def test_latex_commands_in_names_are_only_letters() -> None:
    assert latex_text(r"a_b%\input{x}|±") == r"a\_b\%\textbackslash{}input\{x\}$|$$\pm$"


def test_foreign_text_stays_text(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path)
    evil = "<script>alert(1)</script>$x$|`"
    path = folder / "sweep.json"
    plan = json.loads(path.read_text())
    plan["question"] = evil
    plan["arms"][1]["name"] = evil
    plan["arms"][-1]["pruned"] = evil
    for cell in plan["cells"][3:6]:
        cell["arm"] = evil
    path.write_text(json.dumps(plan))
    assert main(["report", str(folder), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "<script>" not in (tmp_path / "out" / "report.md").read_text(encoding="utf-8").replace(r"\<", "")


def test_sounds_of_a_prompt_are_equally_loud_and_none_clips(folder: Path) -> None:
    listed, notes = prompts(read_sweep(folder))
    assert notes == []
    assert [len(prompt.spoken) for prompt in listed] == [4, 4, 4]
    for prompt in listed:
        levels = [loudness(item.wave, item.sample_rate) for item in prompt.spoken]
        assert max(levels) - min(levels) < 0.01
        assert max(levels) == pytest.approx(-23, abs=0.01)
    click = np.full(8000, 1e-3)
    click[::2000] = 1.0  # as loud as it gets without clipping, and far below the target
    loud = [Spoken("a", 0, click, 16_000), Spoken("b", 0, 0.5 * np.sin(np.arange(8000) / 5), 16_000)]
    matched = equally_loud(loud)
    assert np.abs(matched[0].wave).max() <= 1.0
    assert loudness(matched[0].wave, 16_000) == pytest.approx(loudness(matched[1].wave, 16_000), abs=0.01)


def test_a_sweep_that_has_only_begun_has_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_sweep(tmp_path)
    for cell in (folder / "cells").iterdir():
        if cell.name != f"{BASELINE}-0":
            (cell / "status.json").unlink()
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "1/3 done, 2 queued" in out
    assert "no arm could be tested" in out
    assert "1/12 done" in read(folder, "report.html")


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_sweep(tmp_path / "sweep")
    (tmp_path / "file").write_text("")
    assert main(["report", str(folder), "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "no sweep.json" in capsys.readouterr().err
