"""`format/emova_json`: how its questions are asked, and a user's own sentences from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

import omnikit
from omnikit.artefacts import load_component, save_component
from omnikit.errors import OmnikitError, UnknownName
from omnikit.formats.chain import TASKS
from omnikit.formats.emova_json import QUESTIONS, EmovaJsonFormat
from omnikit.slots.backbone import Segment

HEARD = Segment(units=((3, 1),))
SENTENCES = {
    "caption": "",
    "asr": "Wrte it down\\n\n",
    "tts": "Say，aloud: ",
    "dialogue": 'Answer like {"a": ""}.\nUser:',
}
"""With a typing error, a written-out line break and a wide comma, none of which may be put right."""


def asked(form: EmovaJsonFormat, task: str, *user: Segment) -> list[str]:
    """The texts that stand around what is given as such."""
    return [item.text or "" if item.text is not None else "…" for item in form.prompt(task, user) if not item.control]


def written(folder: Path, content: object, name: str = "own.json") -> str:
    path = folder / name
    dumped = json.dumps(content) if name.endswith(".json") else yaml.safe_dump(content, allow_unicode=True)
    path.write_text(content if isinstance(content, str) else dumped, encoding="utf-8")
    return str(path)


def test_our_own_questions_stand_on_a_line() -> None:
    form = EmovaJsonFormat()
    for task in TASKS:
        assert asked(form, task, HEARD) == [f"{QUESTIONS[task]}\n", "…"]
    shown = Segment(frames=torch.zeros(2, 4))
    assert asked(form, "dialogue", HEARD, shown) == ["…", "\n", f"{QUESTIONS['dialogue']}\n", "…"]
    assert asked(EmovaJsonFormat(questions={**QUESTIONS, "asr": "What?"}), "asr", HEARD) == ["What?\n", "…"]


@pytest.mark.parametrize("name", ["own.json", "own.yaml", "prompts.json", "prompts.yml"])
def test_a_users_sentences_are_taken_letter_by_letter(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, SENTENCES, name)
    form = EmovaJsonFormat(prompts=path if name.startswith("own") else str(tmp_path))
    assert form.questions == SENTENCES
    for task in TASKS:
        assert asked(form, task, HEARD) == [SENTENCES[task], "…"]
    shown = Segment(frames=torch.zeros(2, 4))
    assert asked(form, "dialogue", shown, HEARD) == ["…", "\n", SENTENCES["dialogue"], "…"]


def test_what_is_saved_needs_the_users_file_no_more(tmp_path: Path) -> None:
    path = Path(written(tmp_path, SENTENCES))
    save_component(omnikit.create("format/emova_json", prompts=str(path)), tmp_path / "format")
    save_component(EmovaJsonFormat(), tmp_path / "plain")
    path.unlink()
    assert load_component(tmp_path / "format").questions == SENTENCES
    (tmp_path / "format").rename(tmp_path / "moved")
    again = load_component(tmp_path / "moved")
    save_component(again, tmp_path / "twice")
    assert asked(load_component(tmp_path / "twice"), "tts", HEARD) == [SENTENCES["tts"], "…"]
    assert load_component(tmp_path / "plain").questions == QUESTIONS
    assert not (tmp_path / "plain" / "prompts.json").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({**SENTENCES, "dialog": "x"}, "Unknown task in .*own.json 'dialog'.(.|\n)*Did you mean 'dialogue'"),
        ({"asr": "x", "tts": "y"}, "lacks caption, dialogue"),
        ({**SENTENCES, "asr": True}, "sentence of asr is True, no text"),
        ({**SENTENCES, "asr": SENTENCES["tts"]}, "question of its own"),
        (["asr"], "no mapping"),
        ("{", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(OmnikitError, match=said) as told:
        EmovaJsonFormat(prompts=written(tmp_path, content))
    assert isinstance(told.value, UnknownName) == said.startswith("Unknown")
    assert len(str(told.value).splitlines()) <= 8


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OmnikitError, match=r"cannot be read: .*No such file(.|\n)*caption, asr, tts, dialogue"):
        EmovaJsonFormat(prompts=str(tmp_path / "none.yaml"))
    with pytest.raises(OmnikitError, match=r"holds no prompts: .*prompts\.json, prompts\.yaml, prompts\.yml"):
        EmovaJsonFormat(prompts=str(tmp_path))
    with pytest.raises(OmnikitError, match="cannot be read"):
        EmovaJsonFormat(prompts=written(tmp_path, "a: [b", "own.yaml"))
