"""The kit sees input styles that break the promises of their slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conformance.small_parameters import VARIANTS

import omnikit.testing
from omnikit import registry
from omnikit.types import Losses

Change = Callable[[type], dict[str, Any]]
PREFIX, TAGS = "input_style/embed_prefix", "input_style/tags"


def each(change: Callable[[Any], Any]) -> Change:
    """A class that reads something changed before every recording."""
    return lambda base: {"read": lambda self, audio: [change(segment) for segment in base.read(self, audio)]}


def hears_padding(base: type) -> dict[str, Any]:
    def read(self: Any, audio: Any) -> Any:
        return base.read(self, replace(audio, lengths=torch.full_like(audio.lengths, audio.wave.shape[1])))

    return {"read": read}


BREAKS: list[tuple[str, Change, str]] = [
    (PREFIX, each(lambda segment: replace(segment, frames=segment.frames[:1])), "reads_as_declared"),
    (TAGS, each(lambda segment: None), "reads_as_declared"),
    (TAGS, each(lambda segment: replace(segment, heard=False)), "is_marked_as_heard"),
    (PREFIX, lambda base: {"blank": lambda self: None}, "stand_in_is_of_its_kind"),
    (TAGS, lambda base: {"texts": lambda self: ()}, "says_every_text"),
    (PREFIX, hears_padding, "batch_equals_singles"),
    (PREFIX, each(lambda segment: replace(segment, frames=0 * segment.frames)), "gradient_reaches_its_weights"),
    (TAGS, lambda base: {"loss": lambda self, *_: Losses(torch.zeros(()))}, "gradient_reaches_its_weights"),
]


@pytest.mark.parametrize(("component_id", "change", "promise"), BREAKS)
def test_a_broken_input_style_is_seen(
    monkeypatch: pytest.MonkeyPatch, component_id: str, change: Change, promise: str
) -> None:
    base = registry.resolve(component_id)
    cls = type(base)("Broken", (base,), {"__doc__": "Breaks a promise.", **change(base)})
    monkeypatch.setitem(registry._registered, f"{component_id}_broken", cls)
    results = omnikit.testing.check(f"{component_id}_broken", **VARIANTS[component_id][""])
    assert promise in [result.case for result in results if result.failed]
