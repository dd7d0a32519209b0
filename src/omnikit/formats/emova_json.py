"""`format/emova_json`: the replies that the published EMOVA models write and were asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omnikit.contracts import Contract, LabelsPort
from omnikit.errors import OmnikitError
from omnikit.formats.chain import TASKS, ChainFormat, Ids, Parts, Values, read_units, value_of
from omnikit.formats.json import TEXT, inside, member, read_object
from omnikit.formats.prompts import read_prompts, write_prompts
from omnikit.slots.backbone import Backbone, Segment
from omnikit.slots.grammar import Rule, choice, literal, optional, sequence, some_units

DECIDED = ("emotion", "pitch")
HEARD, REPLY, UNITS = "user question text", "assistant response text", "assistant response speech"
HEARD_STYLE = tuple(f"user question {factor}" for factor in DECIDED)
STYLE = tuple(f"assistant response {factor}" for factor in DECIDED)
SPEED = "assistant response speed"
QUESTIONS = {
    "caption": "Describe the picture.",
    "asr": "Write down what is said.",
    "tts": "Say this aloud.",
    "dialogue": "Answer in JSON with what was asked and how, then the answer, how to say it, and its speech.",
}


class EmovaJsonFormat(ChainFormat):
    """Replies as one JSON object of seven keys, from `user question text` to `assistant response speech`.

    Args:
        questions: the sentence of each task, on a line of its own before what is heard or typed.
        prompts: a file of sentences that take their place: a JSON or YAML mapping of the tasks, or a folder with a
            `prompts.json` or `prompts.yaml`. The published checkpoints were trained with sentences of their own: give
            those of your copy. They are taken letter by letter, and what is heard or typed follows without a line
            break, unless the sentence ends in one; so a label can stand right before the units.

    Beside `format/json`: the keys of the publication, spaces behind `,` and `:`, how the user spoke (`user_style`),
    tasks asked for in words instead of marks. A reply that was cut off is read up to there, and is not well-formed.
    Contract: gives the labels of the published factors, in their order.
    Ref: Chen et al. 2024 (EMOVA, arXiv 2409.18042, section 3.3); keys and repair as the published demonstration.

    >>> EmovaJsonFormat().factors
    ('emotion', 'pitch')
    """

    name = "emova_json"

    def __init__(self, questions: Mapping[str, str] = QUESTIONS, prompts: str | None = None) -> None:
        super().__init__(DECIDED)
        self.questions = dict(questions) if prompts is None else read_prompts(Path(prompts), TASKS)
        self._after_question = "\n" if prompts is None else ""
        if set(self.questions) != set(TASKS) or len(set(self.questions.values())) != len(TASKS):
            raise OmnikitError(f"format/emova_json needs a question of its own for each of {', '.join(TASKS)}.")

    @classmethod
    def contract(cls, questions: Mapping[str, str], prompts: str | None) -> Contract:
        return Contract(gives={"labels": LabelsPort(DECIDED)}, causal=True, lookahead_ms=0.0)

    @classmethod
    def restore_parameters(cls, parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Parameters to make the format from when it was saved in `folder`, with the user's sentences."""
        return parameters if parameters.get("prompts") is None else {**parameters, "prompts": str(folder)}

    def save_extra(self, folder: Path) -> None:
        """Write the user's sentences, so that what is saved needs their file no more."""
        if self.parameters_given["prompts"] is not None:
            write_prompts(folder, self.questions)

    def user_turn(self, task: str, user: Sequence[Segment]) -> list[Segment]:
        """Pictures, each with the end of its line, then the question, then what is heard or typed."""
        segments = [Segment(control="user")]
        pictures = [segment for segment in user if segment.frames is not None and not segment.heard]
        for picture in pictures:
            segments += [picture, Segment(text="\n")]
        question = Segment(text=f"{self.questions[task]}{self._after_question}")
        rest = [segment for segment in user if segment.frames is None or segment.heard]
        return [*segments, question, *rest, Segment(control="reply")]

    def write(self, parts: Parts) -> list[str | Ids]:
        head = {} if parts.heard is None else {HEARD: parts.heard}
        head |= {
            key: parts.user_labels[factor]
            for key, factor in zip(HEARD_STYLE, DECIDED, strict=True)
            if parts.user_labels
        }
        head |= {REPLY: parts.reply}
        head |= {key: parts.labels[factor] for key, factor in zip(STYLE, DECIDED, strict=True) if parts.labels}
        text = json.dumps(head, ensure_ascii=False)
        if parts.units is None:
            return [text]
        return [f'{text[:-1]}, "{UNITS}": "', parts.units, '"}']

    def read(self, raw: str, backbone: Backbone) -> tuple[Parts, bool]:
        whole = repaired(raw)
        found, ok = read_object(whole, (HEARD, *HEARD_STYLE, REPLY, *STYLE, UNITS, SPEED), UNITS)
        heard = {factor: found[key] for key, factor in zip(HEARD_STYLE, DECIDED, strict=True) if key in found}
        labels = {factor: found[key] for key, factor in zip(STYLE, DECIDED, strict=True) if key in found}
        complete = REPLY in found and all(len(style) in (0, len(DECIDED)) for style in (heard, labels))
        spoken = found.get(UNITS, "" if found else raw)
        units, spelled = read_units(spoken, backbone) if spoken or UNITS in found else (None, True)
        labels |= {"speed": found[SPEED]} if SPEED in found else {}
        parts = Parts(found.get(HEARD), found.get(REPLY, ""), labels, units, heard)
        return parts, ok and complete and spelled and whole == raw

    def rule(self, num_codebooks: int, values: Values) -> Rule:
        def styled(keys: Sequence[str], before: str) -> list[Rule]:
            known = (value_of(factor, values, inside, TEXT) for factor in DECIDED)
            marks = (before, *[", "] * (len(keys) - 1))
            return [member(key, value, mark, ": ") for key, value, mark in zip(keys, known, marks, strict=True)]

        asked = member(HEARD, TEXT, colon=": ")
        heard = choice(
            sequence(asked, optional(*styled(HEARD_STYLE, ", ")), literal(", ")),
            sequence(*styled(HEARD_STYLE, ""), literal(", ")),
            literal(""),
        )
        return sequence(
            literal("{"),
            heard,
            member(REPLY, TEXT, colon=": "),
            optional(*styled(STYLE, ", ")),
            optional(member(UNITS, some_units(num_codebooks), ", ", ": ")),
            literal("}"),
        )


def repaired(raw: str) -> str:
    """A reply that was cut off behind a unit, or before its last bracket, with its end put back."""
    if raw.startswith("{") and raw.endswith("|>"):
        return raw + '"}'
    return raw + "}" if raw.startswith("{") and raw.endswith('"') else raw
