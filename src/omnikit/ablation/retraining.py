"""Which stages have to run again when parts are swapped: read off what stages train, require and use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omnikit.training.identity import slots_of

FITTED = {"detokenizer": ("style",)}
"""Slots that an objective fits beside those that it trains: a style table is read off a trained detokenizer."""


def leaves(stage: Mapping[str, Any]) -> set[str]:
    """The slots whose weights a stage writes."""
    return {*stage["trains"], *FITTED.get(stage["objective"], ())}


def stages_needed(
    stages: Mapping[str, Mapping[str, Any]],
    order: Sequence[str],
    *,
    goal: Iterable[str],
    changed: Iterable[str],
    changed_stages: Iterable[str],
    given: Iterable[str],
) -> list[str]:
    """Of the stages `order`, those that every arm has to run so that only what is asked about sets them apart.

    `goal`: slots that are judged; `changed`: slots in which arms differ; `changed_stages`: stages in which they differ;
    `given`: slots with trained weights to start from. A stage runs where it touches a changed slot, differs itself, or
    makes a slot that nobody gives; then whatever reads or trains what it makes runs too. Stages on which nothing that
    is judged depends are left out.
    """
    changed, changed_stages, needed = set(changed), set(changed_stages), set(goal)
    relevant: set[str] = set()
    while more := {name for name in order if name not in relevant and leaves(stages[name]) & needed}:
        relevant |= more
        needed |= {slot for name in more for slot in slots_of(stages[name])}
    missing = needed - set(given)
    chosen = {
        name
        for name in relevant
        if name in changed_stages or changed & set(slots_of(stages[name])) or missing & leaves(stages[name])
    }
    while True:
        made = {slot for name in chosen for slot in leaves(stages[name])}
        more = {name for name in relevant - chosen if made & set(slots_of(stages[name]))}
        if not more:
            return [name for name in order if name in chosen]
        chosen |= more


def differing(arms: Sequence[Mapping[str, Any]], names: Iterable[str]) -> set[str]:
    """Those of `names` under which the mappings are not all alike (missing counts as None)."""
    return {name for name in names if any(arm.get(name) != arms[0].get(name) for arm in arms[1:])}
