"""Who decides how a reply is said: the user, a policy, the model, or the defaults of the style module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from omnikit.errors import OmnikitError
from omnikit.slots.style import StyleModule
from omnikit.types import Labels, SpokenTurn, Style, StyleSource

StylePolicy = Callable[[SpokenTurn], Labels]
"""Labels for a reply from what is known when its voice starts: what was heard or typed and how it was said
(`user_text`, `user_style`), the answer (`text`) and the model's own labels (`style`). Empty labels leave everything to
the model."""
Wish = Labels | Style | StylePolicy
"""A style as it may be asked for: labels that override the model's, factor by factor, a whole style, or a policy."""


@dataclass(frozen=True)
class ByUserStyle:
    """A policy that answers to how the user spoke: factor → value heard → value of the reply.

    What the table does not list is left to the model. Needs a format that writes how the user spoke (`user_style`), as
    `format/emova_json` does.

    >>> ByUserStyle({"emotion": {"angry": "neutral"}})(
    ...     SpokenTurn(text="a star", user_style=Style(({"emotion": "angry", "pitch": "high"},)))
    ... )
    {'emotion': 'neutral'}
    """

    table: Mapping[str, Mapping[str, str]]

    def __call__(self, turn: SpokenTurn) -> Labels:
        heard = turn.user_style.labels[0] if turn.user_style.labels else {}
        pairs = {factor: (str(heard[factor]), answers) for factor, answers in self.table.items() if factor in heard}
        return {factor: answers[value] for factor, (value, answers) in pairs.items() if value in answers}


def knowing(policy: StylePolicy, typed: str) -> StylePolicy:
    """The policy, told what the user typed where the reply does not say what was heard."""
    return lambda turn: policy(turn if turn.user_text else replace(turn, user_text=typed))


def decide(module: StyleModule | None, turn: SpokenTurn, wish: Wish) -> tuple[Style, dict[str, StyleSource]]:
    """The style in which a turn is spoken, and who decided each factor; `module` is None where there are no styles.

    Raises `OmnikitError` for a policy whose answer is no labels, or none that the style module has.
    """
    if isinstance(wish, Style):
        return wish, dict.fromkeys(wish.labels[0] if wish.labels else {"vector": ""}, "user")
    if module is None:
        return Style(), {}
    by: StyleSource = "policy" if callable(wish) else "user"
    asked = _answer(module, wish, turn) if callable(wish) else wish
    said = dict(turn.style.labels[0]) if turn.style.labels else {}
    said = {name: value for name, value in said.items() if value in module.factors.get(name, ())}
    source: StyleSource = by if asked else "model" if said else "default"
    decided_by: dict[str, StyleSource] = {
        name: by if name in asked else "model" if name in said else "default" for name in module.factors
    }
    return module.from_labels([{**said, **asked}], source=source), decided_by


def _answer(module: StyleModule, policy: StylePolicy, turn: SpokenTurn) -> Labels:
    """What a policy answers to a turn without its units, found to be labels that the style module has."""
    labels = policy(replace(turn, units=None, raw=""))
    if not isinstance(labels, Mapping):
        raise OmnikitError(
            f"A style policy answers with labels, e.g. {{'emotion': 'sad'}}; this one answered {labels!r}.\n"
            "An empty mapping leaves the style to the model."
        )
    try:
        module.from_labels([labels])
    except OmnikitError as error:
        raise OmnikitError(f"The style policy answered {dict(labels)}.\n{error}") from error
    return labels
