"""`omnikit quickstart` on a small untrained system: the report is whole, honest, and needs nothing beside it."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from omnikit.cli import main
from omnikit.cli.config import compose_config
from omnikit.system import System
from omnikit.training.choices import plan_of

FAST = [
    "num_questions=2",
    "num_shown=1",
    "num_utterances=3",
    "live.num_lessons=6",
    "live.seconds=0.5",
    "live.max_steps=2",
    "live.num_checks=2",
    "live.num_check_items=2",
    "live.batch_s=4.0",
]
VOID = {"meta", "img", "link", "br", "input", "hr"}


class Page(HTMLParser):
    """Collects what a page holds, and every tag that is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved system of the tiny experiment's parts with random weights."""
    folder = tmp_path_factory.mktemp("system")
    plan, weights = plan_of(compose_config("quickstart", ["weights=null", "tokenizer.vocab_id=random"]))
    made = System.build(plan, weights)
    made.part("backbone").fit_text(["what color is the star?", "the star is red."], 300)
    made.save(folder, half=True)
    return folder


@pytest.fixture(scope="module")
def report(system: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "report.html"
    assert main(["quickstart", "--traceback", "--system", str(system), "--out", str(out), *FAST]) == 0
    return out


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    found = Page()
    found.feed(report.read_text(encoding="utf-8"))
    return found


def test_the_report_is_one_small_well_formed_file(report: Path, page: Page) -> None:
    assert report.stat().st_size < 12_000_000
    assert [path.name for path in report.parent.iterdir()] == ["report.html"]
    assert not page.wrong
    assert not page.open
    assert not re.search(r"\$\w+", "".join(page.text))


def test_nothing_is_fetched_from_anywhere(report: Path, page: Page) -> None:
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"https?://|//cdn|@import|url\((?!#)", text)
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "poster", "action"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, attributes[name][:80])


def test_every_link_leads_somewhere(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    targets = {attributes["href"][1:] for attributes in page.of("a")}
    assert targets
    assert targets <= ids


def test_every_player_holds_sound_and_says_what_it_is(page: Page) -> None:
    players = page.of("audio")
    assert len(players) >= 1 + 8 + 2  # a question, every emotion of both speakers, both sounds without style
    for player in players:
        assert player["aria-label"]
        wave, rate = soundfile.read(io.BytesIO(base64.b64decode(player["src"].split(",")[1])))
        assert rate >= 16_000
        assert len(wave) > 0.1 * rate
        assert np.isfinite(wave).all()


def test_every_picture_has_words(page: Page) -> None:
    pictures = page.of("img")
    assert pictures
    assert all(picture["alt"] for picture in pictures)
    assert all(drawing.get("aria-label") for drawing in page.of("svg"))


def test_the_report_says_what_it_must(page: Page) -> None:
    text = " ".join("".join(page.text).split())
    for said in (
        "not human emotion",
        "style.style -> detokenizer.style do not fit",
        "tokenizer.units -> backbone.units do not fit",
        "start anew",
        "The first 1 of 2 questions",
        "what the style rule asks",
        "omnikit 0.",
    ):
        assert said in text, said


def test_an_untrained_system_is_not_praised(page: Page) -> None:
    text = " ".join("".join(page.text).split())
    assert "✗ not right" in text
    assert "✗ missed" in text


def test_without_live_training_and_another_seed(
    system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "other.html"
    arguments = ["--system", str(system), "--out", str(out), "--seed", "3", "--skip-live"]
    assert main(["quickstart", *arguments, "num_questions=1", "num_shown=1", "num_utterances=2"]) == 0
    said = capsys.readouterr()
    assert "Phones misread by the tokenizer" in said.out
    assert said.err.isascii()
    assert "[1/7 a fresh piece of corpus]" in said.err
    assert "Left out of this run" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "report.pdf"], "must end in .html"),
        (["--out", "nowhere/report.html"], "does not exist"),
        (["--seed", "-1"], "give 0 or more"),
        (["--system", "huge"], "Unknown weights 'huge'"),
        (["num_question=3"], "Did you mean 'num_questions'?"),
    ],
)
def test_bad_input_is_answered_before_anything_is_made(
    arguments: list[str], said: str, system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments if "--system" in arguments else ["--system", str(system), *arguments]
    given = given if "--out" in given else ["--out", str(tmp_path / "report.html"), *given]
    assert main(["quickstart", *given]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_without_trained_parts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    given = ["--system", str(tmp_path / "empty"), "--out", str(tmp_path / "report.html")]
    assert main(["quickstart", *given]) == 2
    assert "no trained tokenizer and backbone and detokenizer" in capsys.readouterr().err
