"""The conformance kit: what every component of a slot promises, held against any registered id, ours or a plugin's.

A plugin's test file:

    import omnikit.testing

    def test_conformance():
        assert [result for result in omnikit.testing.check("projector/mine") if result.failed] == []

Parameters that a system derives get small stand-ins; give others to keep the component small.
"""

from __future__ import annotations

from typing import Any

from omnikit.errors import unknown_name
from omnikit.registry import SLOTS, resolve
from omnikit.testing import (
    backbone,
    common,
    detokenizer,
    format,
    projector,
    speech_encoder,
    style,
    tokenizer,
    vision_encoder,
)
from omnikit.testing.kit import Case, Result, Subject, Suite

__all__ = ["Case", "Result", "Subject", "cases", "check", "subject"]

_SUITES: dict[str, Suite] = {
    "vision_encoder": vision_encoder.SUITE,
    "speech_encoder": speech_encoder.SUITE,
    "projector": projector.SUITE,
    "tokenizer": tokenizer.SUITE,
    "backbone": backbone.SUITE,
    "style": style.SUITE,
    "detokenizer": detokenizer.SUITE,
    "format": format.SUITE,
}


def cases(slot: str) -> list[Case]:
    """The cases of a slot: those of every component, then its own. Raises `UnknownName` for an unknown slot."""
    if slot not in _SUITES:
        raise unknown_name("slot", slot, SLOTS)
    return [Case.of(hold) for hold in (*common.CASES, *_SUITES[slot].cases)]


def subject(component_id: str, **params: Any) -> Subject:
    """A component with its parameters, ready for `Case.run`.

    Raises `UnknownName` for an unknown id or parameter, `OmnikitError` for a parameter that is still needed.
    """
    resolve(component_id)
    return Subject.of(component_id, _SUITES[component_id.split("/")[0]], params)


def check(component_id: str, **params: Any) -> list[Result]:
    """Hold a component to every promise of its slot; nothing is raised for a broken one, its result says it.

    Raises as `subject` does.
    """
    held = subject(component_id, **params)
    return [case.run(held) for case in cases(component_id.split("/")[0])]
