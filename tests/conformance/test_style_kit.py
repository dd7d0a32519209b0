"""The kit sees styles that break the promises about numbers, recordings, words, draws and learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conformance.small_parameters import VARIANTS

import omnikit.testing
from omnikit import registry
from omnikit.slots.style import StyleModule

Change = Callable[[type], dict[str, Any]]
TABLE, REFERENCE, MIXTURE = "style/label_centroid", "style/reference", "style/gmvae"


def after(name: str, change: Callable[[Any], Any]) -> Change:
    """A class whose method `name` returns something changed."""
    return lambda base: {name: lambda self, *args, **kwargs: change(getattr(base, name)(self, *args, **kwargs))}


def hears_padding(base: type) -> dict[str, Any]:
    def from_audio(self: Any, audio: Any, source: Any = "user") -> Any:
        return base.from_audio(self, replace(audio, lengths=torch.full_like(audio.lengths, audio.wave.shape[1])))

    return {"from_audio": from_audio}


def hears_silence(base: type) -> dict[str, Any]:
    def from_audio(self: Any, audio: Any, source: Any = "user") -> Any:
        return base.from_audio(self, replace(audio, wave=audio.wave.nan_to_num() + 0.01))

    return {"from_audio": from_audio}


def first_of_batch(style: Any) -> Any:
    return replace(style, vector=style.vector[:1].expand(len(style.vector), -1))


def deaf_to_numbers(base: type) -> dict[str, Any]:
    def from_labels(self: Any, labels: Any, source: Any = "user") -> Any:
        kept = [
            {name: value for name, value in row.items() if name not in self.scales or isinstance(value, str)}
            for row in labels
        ]
        return base.from_labels(self, kept, source)

    return {"from_labels": from_labels}


def own_draws(base: type) -> dict[str, Any]:
    return {"draw": lambda self, number, generator: base.draw(self, number, torch.Generator().manual_seed(9))}


BREAKS: list[tuple[str, Change, str]] = [
    (TABLE, deaf_to_numbers, "numbers_lie_on_scales"),
    (TABLE, lambda base: {"views": frozenset({"telepathy"})}, "takes_what_it_says"),
    (
        TABLE,
        lambda base: {"from_text": lambda self, texts, source="user": self.from_labels([{}])},
        "takes_what_it_says",
    ),
    (TABLE, lambda base: {"fit": lambda self, vectors, labels, space_id: None}, "gives_back_what_it_was_fitted_on"),
    (REFERENCE, hears_padding, "hears_recordings"),
    (REFERENCE, after("from_audio", first_of_batch), "hears_recordings"),
    (REFERENCE, after("from_audio", lambda style: replace(style, space_id="other")), "hears_recordings"),
    (REFERENCE, hears_silence, "refuses_bad_recordings"),
    (MIXTURE, own_draws, "draws_by_its_generator"),
    (MIXTURE, after("draw", lambda style: replace(style, vector=style.vector * 0)), "draws_by_its_generator"),
    (MIXTURE, after("loss", lambda found: replace(found, total=found.total.detach())), "learns_from_examples"),
    (MIXTURE, after("loss", lambda found: replace(found, total=found.total + torch.rand(()))), "learns_from_examples"),
]


@pytest.mark.parametrize(
    ("component_id", "change", "promise"), BREAKS, ids=[f"{b[2]}-{n}" for n, b in enumerate(BREAKS)]
)
def test_a_broken_promise_is_seen(
    monkeypatch: pytest.MonkeyPatch, component_id: str, change: Change, promise: str
) -> None:
    base = registry.resolve(component_id)
    assert issubclass(base, StyleModule)
    cls = type(base)("Broken", (base,), {"__doc__": "Breaks a promise.", **change(base)})
    monkeypatch.setitem(registry._registered, f"{component_id}_broken", cls)
    (case,) = [case for case in omnikit.testing.cases("style") if case.name == promise]
    parameters = next(iter(VARIANTS[component_id].values()))
    result = case.run(omnikit.testing.subject(f"{component_id}_broken", **parameters))
    assert result.failed and result.detail, str(result)
