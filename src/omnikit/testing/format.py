"""Promises of the slot `format`.

A format needs a backbone to spell units: the smallest `backbone/hf_causal` stands in, once with one codebook and once
with two.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import torch

from omnikit.contracts import LabelsPort
from omnikit.errors import UnknownName
from omnikit.registry import create
from omnikit.slots.backbone import Backbone, Segment
from omnikit.slots.format import Format
from omnikit.slots.grammar import accepts
from omnikit.testing.kit import Broken, Subject, Suite, expect, expect_same
from omnikit.types import SpokenTurn, Style, Units

_TEXTS = ("It is red.", 'She said "stop", then: {"reply": 1}', "ünï — 星\nline two", "<|speech_1|> typed", "\\")
_MAX_POSITIONS = 256
_RATE, _VOCAB = Fraction(25), "conformance"
_HOSTILE = (
    "",
    " ",
    "{",
    "}",
    "null",
    "[]",
    "{}",
    '"text"',
    "[" * 5000,
    '{"reply":' * 2000,
    "\x00\ud800",
    '{"reply": 1, "units": {}}',
    '{"units": null}',
    "<|speech_",
    "<|speech_99999|>",
    "<|" * 3000,
)


def _backbone(sizes: tuple[int, ...] = (16,)) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create(
            "backbone/hf_causal",
            **{"hidden": 8, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate": 8},
            **{"max_positions": _MAX_POSITIONS},
            **{"codebooks": sizes, "unit_rate": _RATE, "layout": "frame", "vocab_id": _VOCAB},
        )


def _units(sizes: tuple[int, ...], length: int) -> Units:
    codes = torch.stack([(torch.arange(length) * 7 + 3) % size for size in sizes])[None]  # [1, K, T]
    return Units(codes, torch.tensor([length]), sizes, _RATE, _VOCAB)


def _turns(component: Format, task: str, sizes: tuple[int, ...]) -> Iterator[SpokenTurn]:
    """Turns that the task can write: with and without what was heard, style and units."""
    for number, text in enumerate(_TEXTS):
        spoken = _units(sizes, number + 1)
        if task == "tts":
            yield SpokenTurn(text="", units=spoken)
        elif task in ("caption", "asr"):
            if "<|" not in text:
                yield SpokenTurn(text=text)
        else:
            labels = dict.fromkeys(component.factors, f"value {number}")
            style = Style(labels=(labels,), source="model") if labels else Style()
            yield SpokenTurn(text=text, user_text=_TEXTS[-1 - number], style=style, units=spoken)
            yield SpokenTurn(text=text, style=style, units=spoken)
            yield SpokenTurn(text=text, user_text=text)


def _spelled(segments: Sequence[Segment], backbone: Backbone) -> str:
    """The text that a backbone which writes these segments would give."""
    parts = []
    for segment in segments:
        if segment.control == "end":
            break
        parts.append(segment.text if segment.text is not None else backbone.unit_text(segment.units or ()))
    return "".join(parts)


def _symbols(segments: Sequence[Segment]) -> list[int | str]:
    """What a grammar reads of these segments: text, and for each unit its codebook."""
    symbols: list[int | str] = []
    for segment in segments:
        if segment.text is not None:
            symbols.append(segment.text)
        for step in zip(*(segment.units or ()), strict=True):
            symbols += range(len(step))
    return symbols


def outputs(subject: Subject, component: Format) -> Any:
    """Prompts, targets and readings of every task."""
    backbone = _backbone()
    results = []
    for task in component.tasks:
        turn = next(_turns(component, task, (16,)))
        target = component.target(task, turn, backbone)
        results.append((component.prompt(task, [Segment(text="hi")]), target))
        results.append(component.parse(task, _spelled(target, backbone), backbone))
    return results


def names_its_tasks(subject: Subject) -> None:
    """Tasks are among caption, asr, tts and dialogue; another one is an UnknownName wherever a task is given."""
    component, backbone = subject.component, _backbone()
    expect(bool(component.tasks), "it has no task.")
    expect(set(component.tasks) <= {"caption", "asr", "tts", "dialogue"}, f"tasks {component.tasks}.")
    calls = (
        lambda: component.prompt("no_such_task", []),
        lambda: component.target("no_such_task", SpokenTurn(text="a"), backbone),
        lambda: component.parse("no_such_task", "a", backbone),
        lambda: component.grammar("no_such_task", backbone, {}),
    )
    for call in calls:
        try:
            call()
        except UnknownName as error:
            expect(all(task in str(error) for task in component.tasks), "the error does not list the tasks that exist.")
        else:
            raise Broken("the task 'no_such_task' is accepted.")


def what_is_written_is_read_back(subject: Subject) -> None:
    """target → text → parse gives the turn again: words, labels, units with their vocabulary, and parse_ok."""
    component = subject.component
    for sizes in ((16,), (8, 5)):
        backbone = _backbone(sizes)
        for task in component.tasks:
            for turn in _turns(component, task, sizes):
                text = _spelled(component.target(task, turn, backbone), backbone)
                read = component.parse(task, text, backbone)
                expect(read.parse_ok, f"{task}: its own target {text!r:.80} is read as malformed.")
                expect(read.raw == text, f"{task}: raw is not what was written.")
                for field in ("text", "user_text", "units"):
                    expect_same(getattr(turn, field), getattr(read, field), f"{task}: another {field} is read back")
                written = [dict(row) for row in turn.style.labels if row]
                expect(
                    [dict(row) for row in read.style.labels if row] == written, f"{task}: other labels are read back."
                )


def parsing_never_raises(subject: Subject) -> None:
    """Whatever a model writes is read without an exception; what breaks the format is not parse_ok."""
    component = subject.component
    shuffler = random.Random(0)
    for sizes in ((16,), (8, 5)):
        backbone = _backbone(sizes)
        for task in component.tasks:
            wholes = [
                _spelled(component.target(task, turn, backbone), backbone) for turn in _turns(component, task, sizes)
            ]
            cut = [whole[:end] for whole in wholes for end in range(0, len(whole), 5)]
            spoilt = []
            for whole in wholes:
                letters = list(whole)
                shuffler.shuffle(letters)
                spoilt += ["".join(letters), whole * 2, whole[::-1], whole.replace('"', "")]
            for raw in (*_HOSTILE, *cut, *spoilt):
                try:
                    turn = component.parse(task, raw, backbone)
                except Exception as error:
                    raise Broken(f"{task}: {raw!r:.60} raises {type(error).__name__}: {error!s:.80}") from error
                expect(turn.raw == raw, f"{task}: raw is not what was written.")
                if turn.units is not None:
                    inside = turn.units.codes < torch.tensor(sizes)[:, None]  # [1, K, T]
                    expect(bool(inside.all()), f"{task}: {raw!r:.60} is read as units that do not exist.")
            for raw in ("", " ", "<|speech_99999|>"):
                expect(not component.parse(task, raw, backbone).parse_ok, f"{task}: {raw!r} counts as well-formed.")


def only_targets_are_trained(subject: Subject) -> None:
    """Prompts are read only; every segment of a target is trained, and it closes with the control `end`."""
    component, backbone = subject.component, _backbone()
    for task in component.tasks:
        prompt = component.prompt(task, [Segment(text="hi"), Segment(units=((1, 2),))])
        expect(bool(prompt) and not any(segment.train for segment in prompt), f"{task}: a prompt is trained or empty.")
        for turn in _turns(component, task, (16,)):
            target = component.target(task, turn, backbone)
            expect(all(segment.train for segment in target), f"{task}: a part of the target is not trained.")
            expect(target[-1].control == "end", f"{task}: the target does not close with the control 'end'.")
            expect(all(segment.control != "end" for segment in target[:-1]), f"{task}: the target ends twice.")


def prompts_are_read_in_order(subject: Subject) -> None:
    """User segments stand in the prompt as they are, in order, and earlier turns stand before them."""
    component, backbone = subject.component, _backbone()
    user = [Segment(frames=torch.zeros(2, 8)), Segment(units=((4, 2),)), Segment(text="now")]
    earlier = ([Segment(text="before")], SpokenTurn(text="reply before"))
    for task in component.tasks:
        prompt = component.prompt(task, user, [earlier])
        places = [next((at for at, found in enumerate(prompt) if found is segment), -1) for segment in user]
        expect(-1 not in places and places == sorted(places), f"{task}: the user's segments stand at {places}.")
        before = [at for at, found in enumerate(prompt) if found.text in ("before", "reply before")]
        expect(len(before) == 2 and before[-1] < places[0], f"{task}: earlier turns do not stand before the question.")
        expect(backbone.count_tokens(prompt) > 0, f"{task}: a backbone cannot read the prompt.")
    prompts = [str(component.prompt(task, [Segment(text="x")])) for task in component.tasks]
    expect(len(set(prompts)) == len(prompts), "two tasks have the same prompt; the backbone cannot tell them apart.")


def factors_are_as_declared(subject: Subject) -> None:
    """The factors of the instance are those of its contract's port `labels`, and each once."""
    factors = subject.component.factors
    said = dict(subject.contract.gives["labels"].facts())["factors"]
    expect(tuple(factors) == tuple(said), f"factors {factors}, the contract says {said}.")
    expect(len(set(factors)) == len(factors), f"factors {factors} name one twice.")


def grammar_holds_what_is_written(subject: Subject) -> None:
    """The grammar accepts every target, and neither half of one nor a value that the style module lacks."""
    component = subject.component
    for sizes in ((16,), (8, 5)):
        backbone = _backbone(sizes)
        for task in component.tasks:
            free = component.grammar(task, backbone, {})
            strict = component.grammar(task, backbone, dict.fromkeys(component.factors, ("value 1",)))
            for number, turn in enumerate(_turns(component, task, sizes)):
                target = component.target(task, turn, backbone)
                if task in ("caption", "asr") and turn.text.strip() != turn.text:
                    continue
                symbols = _symbols(target)
                expect(accepts(free, symbols), f"{task}: the grammar refuses the target {symbols!r:.80}.")
                expect(not accepts(free, [*symbols, 0, "<|"]), f"{task}: it accepts what stands behind {number}.")
                labels = turn.style.labels[0] if turn.style.labels else {}
                fits = set(labels.values()) <= {"value 1"}
                expect(accepts(strict, symbols) == fits, f"{task}: style {labels} is not held to the values given.")


def held_to_its_grammar_every_answer_is_well_formed(subject: Subject) -> None:
    """With a random backbone, greedy or drawn, within any budget that is enough: whole, known units, known values."""
    component = subject.component
    values = dict.fromkeys(component.factors, ("calm", "lively"))
    for sizes in ((16,), (8, 5)):
        backbone = _backbone(sizes)
        for task in component.tasks:
            prompts = [[Segment(control="start"), Segment(text=text), Segment(control=task)] for text in "ab"]
            grammar = component.grammar(task, backbone, values)
            for budget, temperature in ((grammar.cost + 1, 0.0), (grammar.cost + 9, 0.0), (grammar.cost + 16, 3.0)):
                if budget > _MAX_POSITIONS - 8:
                    raise Broken(f"{task}: the shortest answer takes {budget} tokens.")
                written = backbone.generate(
                    prompts,
                    generator=torch.Generator().manual_seed(budget),
                    max_new_tokens=budget,
                    temperature=temperature,
                    grammar=grammar,
                )
                for answer in written:
                    read = component.parse(task, answer.text, backbone)
                    expect(answer.finished, f"{task}: {answer.text!r:.80} did not end within {budget} tokens.")
                    expect(read.parse_ok, f"{task}: {answer.text!r:.80} is malformed.")
                    said = read.style.labels[0] if read.style.labels else {}
                    expect(set(said.values()) <= {"calm", "lively"}, f"{task}: the style {said} does not exist.")


SUITE = Suite(
    base=Format,
    needs={},
    gives={"labels": LabelsPort},
    outputs=outputs,
    cases=(
        names_its_tasks,
        what_is_written_is_read_back,
        parsing_never_raises,
        only_targets_are_trained,
        prompts_are_read_in_order,
        factors_are_as_declared,
        grammar_holds_what_is_written,
        held_to_its_grammar_every_answer_is_well_formed,
    ),
)
