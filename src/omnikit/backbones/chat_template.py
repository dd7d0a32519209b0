"""How a published model writes turns: its chat template, rendered once around known marks and cut at them.

What stands before, between and behind the marks is what the controls `start`, `user`, `reply` and `end`
(`slots.backbone.CONTROLS`) are written as. The text between the marks is never the template's: it is encoded by itself.
"""

from __future__ import annotations

from typing import Any

from omnikit.errors import OmnikitError

TURNS = (("user", "omnikit-one"), ("assistant", "omnikit-two"), ("user", "omnikit-three"))
"""Who says what in the conversation that is rendered."""
FROM_TEMPLATE = frozenset({"start", "user", "reply"})
"""Controls whose writing only a chat template knows; `end` may be the tokenizer's own."""
_LONGEST_SHOWN = 240


class ChatTemplateError(OmnikitError):
    """A chat template that is missing, or that does not show how a model's turns begin and end."""


def chat_controls(tokenizer: Any, system: str | None = None) -> dict[str, tuple[int, ...]]:
    """`start`, `user`, `reply` and `end` as the model's chat template writes them; `end` alone where it has none.

    `system` is the sentence before the first turn, None what the template says by itself. Raises `ChatTemplateError`
    for a template that cannot be run, changes what is said, or does not tell the turns apart.
    """
    if not tokenizer.chat_template:
        if system is not None:
            raise ChatTemplateError(
                "This model has no chat template, so no system sentence can be put before its turns.\n"
                "Leave it out (system=null), or put the template of the model beside its tokenizer.json."
            )
        return {"end": (tokenizer.eos_token_id,)} if tokenizer.eos_token_id is not None else {}
    text = _rendered(tokenizer, system)
    opening, reply, between = _cut(text)
    if system is not None and system.strip() not in opening:
        raise _no_place(text)
    end = _end(tokenizer, between, text)
    later = between.lstrip().removeprefix(tokenizer.convert_ids_to_tokens(end))
    user = later
    while not opening.endswith(user):  # a first turn may lack the white space before later ones
        user = user[1:]
    if later.removesuffix(user).strip():
        if system is not None:
            raise _no_place(text)
        raise _unusable("begins a user's first turn in another way than later ones", text)
    pieces = {"start": opening.removesuffix(user), "user": user, "reply": reply}
    controls = {name: tuple(tokenizer.encode(piece, add_special_tokens=False)) for name, piece in pieces.items()}
    return {**controls, "end": (end,)}


def no_template(source: str) -> ChatTemplateError:
    """The error for turns of a model that was trained on some, whose template is not there."""
    return ChatTemplateError(
        f"The tokenizer of {source} knows units, so this model was trained on turns, but it has no chat template:\n"
        "how a turn begins is not known, and marks that the model never saw would take its place.\n"
        "Put the template of the checkpoint beside its tokenizer.json and load it again: a file chat_template.jinja,\n"
        "or the tokenizer_config.json that holds it. The model that it was trained from has the same."
    )


def _rendered(tokenizer: Any, system: str | None) -> str:
    """The conversation as the template writes it, up to where the next answer begins."""
    first = [] if system is None else [{"role": "system", "content": system}]
    turns = [*first, *({"role": role, "content": mark} for role, mark in TURNS)]
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of somebody else's: it may raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:_LONGEST_SHOWN]
        spoken = "" if system is None else "It may take no system sentence: try system=null.\n"
        raise ChatTemplateError(
            f"The chat template of this model cannot be run: {reason}\n"
            f"{spoken}It is given turns of a user, an assistant and a user, each with its `role` and `content`.\n"
            f"{_REMEDY}"
        ) from error


def _cut(text: str) -> list[str]:
    """What stands before the first text, before the second, and before the third."""
    pieces, rest = [], text
    for role, mark in TURNS:
        count = text.count(mark)
        if count > 1:
            raise _unusable(f"writes what the {role} says {count} times", text)
        if not count:
            changed = "changes the letters of" if mark in text.lower() else "leaves out"
            raise _unusable(f"{changed} what the {role} says", text)
        piece, found, rest = rest.partition(mark)
        if not found:
            raise _unusable("writes the turns in another order", text)
        pieces.append(piece)
    if not pieces[1]:
        raise _unusable("puts nothing between a question and its answer", text)
    return pieces


def _end(tokenizer: Any, between: str, text: str) -> int:
    """The token that ends an answer, the first thing behind it but white space."""
    ids = tokenizer.encode(between.lstrip(), add_special_tokens=False)
    if not ids:
        raise _unusable("puts nothing between an answer and the next question", text)
    if ids[0] not in {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}:
        raise _unusable("ends an answer in plain text, which an answer may hold as well, not in a special token", text)
    return ids[0]


_REMEDY = (
    "Put the template that the model was trained with beside its tokenizer.json: a file chat_template.jinja,\n"
    "or the tokenizer_config.json that holds it."
)


def _unusable(what: str, text: str) -> ChatTemplateError:
    return ChatTemplateError(
        f"The chat template of this model cannot be used: it {what}.\n"
        f"{', '.join(mark for _, mark in TURNS)}, said in turns, became: {_shown(text)}\n"
        f"{_REMEDY}"
    )


def _no_place(text: str) -> ChatTemplateError:
    return ChatTemplateError(
        "The chat template of this model has no place of its own for a system sentence before the first turn.\n"
        f"{', '.join(mark for _, mark in TURNS)}, said in turns, became: {_shown(text)}\n"
        "Leave it out (system=null), or give the model a template that takes one."
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…")
