"""The kit sees streams, grammars, features and fitted units that break their promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from conformance.small_parameters import VARIANTS

import omnikit.testing
from omnikit import registry
from omnikit.slots.grammar import Literal
from omnikit.types import Audio, Style

Change = Callable[[type], dict[str, Any]]
TOKENIZER, DETOKENIZER, FORMAT = "tokenizer/spiral_fsq", "detokenizer/uvits", "format/json"


def after(name: str, change: Callable[[Any], Any]) -> Change:
    """A class whose method `name` returns something changed."""
    return lambda base: {name: lambda self, *args, **kwargs: change(getattr(base, name)(self, *args, **kwargs))}


def with_another_factor(base: type) -> dict[str, Any]:
    def train(self: Any, mode: bool = True) -> Any:
        self.factors = ("tone",)
        return base.train(self, mode)

    return {"train": train}


def half_as_loud_in_pieces(base: type) -> dict[str, Any]:
    def stream(self: Any, units: Any, style: Style, generator: torch.Generator) -> Iterator[Audio]:
        for piece in base.stream(self, units, style, generator):
            yield replace(piece, wave=piece.wave / 2)

    return {"stream": stream}


def every_piece_by_itself(base: type) -> dict[str, Any]:
    def stream(self: Any, units: Any, style: Style, generator: torch.Generator) -> Iterator[Audio]:
        for piece in units:
            yield self.decode(piece, style, generator)

    return {"stream": stream}


def waiting_for_all_units(base: type) -> dict[str, Any]:
    def stream(self: Any, units: Any, style: Style, generator: torch.Generator) -> Iterator[Audio]:
        yield from base.stream(self, iter(list(units)), style, generator)

    return {"stream": stream}


def deaf_after_half_a_minute(base: type) -> dict[str, Any]:
    def encode(self: Any, audio: Audio) -> Any:
        longest = 30 * audio.sample_rate
        return base.encode(self, replace(audio, wave=audio.wave[:, :longest], lengths=audio.lengths.clamp(max=longest)))

    return {"encode": encode}


BREAKS: list[tuple[str, Change, str]] = [
    (TOKENIZER, deaf_after_half_a_minute, "hears_a_minute"),
    (DETOKENIZER, half_as_loud_in_pieces, "streams_what_it_decodes"),
    (DETOKENIZER, every_piece_by_itself, "units_may_arrive_in_any_pieces"),
    (DETOKENIZER, waiting_for_all_units, "speaks_before_the_last_unit"),
    (FORMAT, with_another_factor, "factors_are_as_declared"),
    (FORMAT, after("grammar", lambda found: Literal(b"x")), "grammar_holds_what_is_written"),
    (FORMAT, after("grammar", lambda found: Literal(b"x")), "held_to_its_grammar_every_answer_is_well_formed"),
    (
        TOKENIZER,
        after("features", lambda frames: replace(frames, features=frames.features[0])),
        "shows_frames_before_the_bottleneck",
    ),
]


@pytest.mark.parametrize(("component_id", "change", "promise"), BREAKS, ids=[b[2] for b in BREAKS])
def test_a_broken_promise_is_seen(
    monkeypatch: pytest.MonkeyPatch, component_id: str, change: Change, promise: str
) -> None:
    base = registry.resolve(component_id)
    cls = type(base)("Broken", (base,), {"__doc__": "Breaks a promise.", **change(base)})
    monkeypatch.setitem(registry._registered, f"{component_id}_broken", cls)
    (case,) = [case for case in omnikit.testing.cases(component_id.split("/")[0]) if case.name == promise]
    parameters = next(iter(VARIANTS[component_id].values()))
    result = case.run(omnikit.testing.subject(f"{component_id}_broken", **parameters))
    assert result.failed and result.detail, str(result)


def test_units_fitted_by_chance_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    base = registry.resolve("tokenizer/bottleneck")

    def fit_units(self: Any, recordings: Iterable[Audio], generator: torch.Generator) -> None:
        base.fit_units(self, recordings, torch.Generator().manual_seed(int(torch.randint(9999, (1,)))))

    monkeypatch.setitem(
        registry._registered, "tokenizer/broken", type(base)("Broken", (base,), {"fit_units": fit_units})
    )
    subject = omnikit.testing.subject("tokenizer/broken", **VARIANTS["tokenizer/bottleneck"]["none"])
    (case,) = [case for case in omnikit.testing.cases("tokenizer") if case.name == "fits_units_after_training"]
    assert "other units" in case.run(subject).detail
