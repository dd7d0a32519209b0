"""The model `omnikit` of lmms-eval on random weights: its requests, its batches, and what it refuses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from lmms_eval.api.instance import Instance
from lmms_eval.models.registry_v2 import ModelRegistryV2
from omnikit_lmms_eval.manifest import manifest
from omnikit_lmms_eval.model import OmnikitModel
from PIL import Image

from omnikit.errors import OmnikitError, UnknownName
from omnikit.slots.backbone import Generated
from omnikit.system import System
from omnikit.wiring import Node

UNITS = {"codebooks": [16], "unit_rate": 25, "layout": "frame", "vocab_id": "random"}
NODES = {
    "vision_encoder": Node("vision_encoder/timm", {"image_size": 32, "dim": 16, "depth": 1, "heads": 2}),
    "projector": Node("projector/mlp", {}),
    "backbone": Node(
        "backbone/hf_causal", {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 32, **UNITS}
    ),
    "format": Node("format/json", {}),
}
COLORS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = System.assemble(NODES)
    with torch.no_grad():  # large enough that what is written depends on what is read
        for weights in system.part("backbone").parameters():
            if weights.ndim > 1:
                weights.mul_(10.0)
    made = tmp_path_factory.mktemp("weights") / "system"
    system.save(made)
    return made


def model_of(folder: Path, **more: Any) -> OmnikitModel:
    model = OmnikitModel.create_from_arg_string(f"weights={folder}", {"device": "cpu", **more})
    pictures = [Image.new("RGB", (40, 24 + 8 * number), color) for number, color in enumerate(COLORS)]
    model.task_dict = {"colors": {"test": [pictures[:1], pictures[1:], None]}}
    return model


def requests(*settings: dict[str, Any]) -> list[Instance]:
    """A question about one picture, about two, and about none, with these settings in turn."""
    return [
        Instance(
            request_type="generate_until",
            arguments=(f"<image>What is it, {number}?", own, lambda shown: shown, number, "colors", "test"),
            idx=0,
            metadata={"task": "colors", "doc_id": number, "repeats": 1},
        )
        for number, own in enumerate(settings)
    ]


SHORT = {"max_new_tokens": 6, "temperature": 0, "do_sample": False}


def test_lmms_eval_finds_it_by_its_id() -> None:
    registry = ModelRegistryV2()
    registry.register_manifest(manifest())
    assert registry.get_model_class("omnikit") is OmnikitModel
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["lmms_eval.models"] == {"omnikit": "omnikit_lmms_eval.manifest:manifest"}


@pytest.mark.parametrize("ask", ["chat", "dialogue"])
def test_a_batch_gives_what_its_requests_give_alone(folder: Path, ask: str) -> None:
    asked = requests(SHORT, {**SHORT, "max_new_tokens": 5}, SHORT)
    how = {"ask": ask, "max_new_tokens": 8}
    together = model_of(folder, batch_size=4, **how).generate_until(asked)
    alone = [model_of(folder, batch_size=1, **how).generate_until([request])[0] for request in asked]
    assert together == alone
    assert len(set(together)) > 1 and all(isinstance(answer, str) and answer for answer in together)


@pytest.mark.parametrize("ask", ["chat", "dialogue"])
def test_all_pictures_of_a_document_are_read_before_its_question(folder: Path, ask: str) -> None:
    model = model_of(folder, ask=ask)
    for request, shown in zip(requests(SHORT, SHORT, SHORT), (1, 2, 0), strict=True):
        prompt = model._prompt(model._read(request.args))
        places = [place for place, item in enumerate(prompt) if item.frames is not None]
        question = [place for place, item in enumerate(prompt) if item.text and item.text.startswith("What is it")]
        assert len(places) == shown and len(question) == 1 and max(places, default=-1) < question[0]


def test_an_answer_ends_before_its_first_end(folder: Path) -> None:
    model = model_of(folder, ask="chat")
    whole = model.generate_until(requests(SHORT))[0]
    middle = whole[len(whole) // 2]
    assert model.generate_until(requests({**SHORT, "until": ["\x00", middle]}))[0] == whole.split(middle)[0].strip()


def test_of_a_reply_the_words_are_the_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(folder)
    told = '{"reply":"a red square","emotion":"happy","pitch":"low","speed":"fast","units":"<|speech_3|>"}'

    def generate(prompts: list[Any], **_: Any) -> list[Generated]:
        return [Generated(ids=(), text=told, finished=True) for _ in prompts]

    monkeypatch.setattr(model.system.part("backbone"), "generate", generate)
    assert model.generate_until(requests(SHORT, SHORT)) == ["a red square"] * 2


def test_what_it_cannot_do_is_refused(folder: Path) -> None:
    model = model_of(folder)
    model.task_dict = {"colors": {"test": ["film.mp4"]}}
    with pytest.raises(OmnikitError, match="looks at pictures; this task shows str"):
        model.generate_until(requests(SHORT))
    with pytest.raises(OmnikitError, match="generate_until only"):
        model.loglikelihood([])
    with pytest.raises(UnknownName, match="Did you mean 'chat'"):
        model_of(folder, ask="chatt")
    with pytest.raises(OmnikitError, match="batch_size"):
        model_of(folder, batch_size="auto")


TASK = """\
task: colors
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/documents.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.visual
doc_to_text: !function utils.text
doc_to_target: answer
generation_kwargs: {{max_new_tokens: 6, temperature: 0, do_sample: false}}
process_results: !function utils.process
metric_list:
  - {{metric: answered, aggregation: mean, higher_is_better: true}}
metadata: {{version: 0.0}}
"""
FUNCTIONS = """\
from PIL import Image


def visual(doc):
    return [Image.open(doc["picture"])]


def text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def process(doc, results):
    return {"answered": float(bool(results[0]))}
"""


def test_its_evaluator_runs_a_task_through_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    documents = []
    for color in COLORS:
        Image.new("RGB", (48, 48), color).save(tmp_path / f"{color}.png")
        shown = str(tmp_path / f"{color}.png")
        documents.append({"picture": shown, "question": "What color is it?", "answer": color})
    (tmp_path / "documents.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    task = tmp_path / "task"
    task.mkdir()
    (task / "colors.yaml").write_text(TASK.format(folder=tmp_path))
    (task / "utils.py").write_text(FUNCTIONS)
    model = OmnikitModel.create_from_arg_string(f"weights={folder},ask=chat", {"batch_size": 2, "device": "cpu"})
    tasks = TaskManager(include_path=str(task), include_defaults=False)
    found = simple_evaluate(model=model, tasks=["colors"], task_manager=tasks, batch_size=2)
    assert found["results"]["colors"]["answered,none"] == 1.0
    assert len(found["samples"]["colors"]) == len(COLORS)
