"""The kit sees emitters that break the promises of their slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conformance.small_parameters import VARIANTS

import omnikit.testing
from omnikit import registry
from omnikit.slots.emitter import Place

Change = Callable[[type], dict[str, Any]]
DELAY, DEPTH, IN_VOCAB = "emitter/delay", "emitter/depth", "emitter/in_vocab"


def after(name: str, change: Callable[[Any], Any]) -> Change:
    """A class whose method `name` returns something changed."""
    return lambda base: {name: lambda self, *args, **kwargs: change(getattr(base, name)(self, *args, **kwargs))}


def without_gradient(losses: list[torch.Tensor]) -> list[torch.Tensor]:
    return [one.detach() for one in losses]


def summed(losses: Any) -> Any:
    return replace(losses, total=losses.total * len(losses.parts["tokens"]))


def told_otherwise(generated: list[Any]) -> list[Any]:
    return [replace(one, text=one.text[::-1]) for one in generated]


def unfinished(generated: list[Any]) -> list[Any]:
    return [replace(one, text=one.text[:-1]) for one in generated]


def in_another_order(places: list[Place]) -> list[Place]:
    """Codes are read at the places of other steps than those at which they are written."""
    turned = [*places[1:], *places[:1]]
    return [
        replace(place, codes=other.codes) if not place.control else place
        for place, other in zip(places, turned, strict=True)
    ]


def first_codes_only(places: list[Place]) -> list[Place]:
    return [replace(place, codes=place.codes[:1]) for place in places]


def drawing_from_elsewhere(base: type) -> dict[str, Any]:
    def generate(self: Any, backbone: Any, prompts: Any, *, generator: torch.Generator, **how: Any) -> Any:
        return base.generate(self, backbone, prompts, generator=torch.Generator().manual_seed(7), **how)

    return {"generate": generate}


def shy_in_company(base: type) -> dict[str, Any]:
    def generate(self: Any, backbone: Any, prompts: Any, **how: Any) -> Any:
        written = base.generate(self, backbone, prompts, **how)
        return [replace(one, text="") for one in written] if len(prompts) > 1 else written

    return {"generate": generate}


def deaf_to_foreign_units(base: type) -> dict[str, Any]:
    def loss(self: Any, backbone: Any, sequences: Any, **how: Any) -> Any:
        return super(base, self).loss(backbone, [[item for item in row if item.units is None] for row in sequences])

    return {"loss": loss, "_beside": lambda self, backbone: {}}


BREAKS: list[tuple[str, Change, str]] = [
    (DEPTH, after("losses", without_gradient), "learns"),
    (IN_VOCAB, after("loss", summed), "loss_of_a_batch_is_that_of_its_rows"),
    (DELAY, after("num_unseen", lambda number: number + 1), "counts_what_it_learns"),
    (DELAY, after("count_tokens", lambda number: number + 1), "positions_add_up"),
    (DEPTH, after("places", first_codes_only), "hears_every_unit"),
    (DEPTH, after("places", in_another_order), "says_what_it_has_learnt"),
    (IN_VOCAB, shy_in_company, "greedy_batch_equals_singles"),
    (DELAY, after("generate", told_otherwise), "streams_what_it_generates"),
    (DEPTH, drawing_from_elsewhere, "drawing_follows_the_generator"),
    (DELAY, after("generate", unfinished), "held_to_a_grammar_it_writes_whole_steps"),
    (DEPTH, deaf_to_foreign_units, "refuses_other_codebooks"),
]


@pytest.mark.parametrize(("component_id", "change", "promise"), BREAKS, ids=[promise for _, _, promise in BREAKS])
def test_a_broken_emitter_is_seen(
    monkeypatch: pytest.MonkeyPatch, component_id: str, change: Change, promise: str
) -> None:
    base = registry.resolve(component_id)
    cls = type(base)("Broken", (base,), {"__doc__": "Breaks a promise.", **change(base)})
    monkeypatch.setitem(registry._registered, f"{component_id}_broken", cls)
    (case,) = [case for case in omnikit.testing.cases("emitter") if case.name == promise]
    parameters = next(iter(VARIANTS[component_id].values()))
    result = case.run(omnikit.testing.subject(f"{component_id}_broken", **parameters))
    assert result.failed and result.detail, str(result)
