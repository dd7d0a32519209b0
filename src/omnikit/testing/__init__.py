"""The conformance kit: what every component of a slot promises, held against any registered id, ours or a plugin's.

A plugin's test file:

    import omnikit.testing

    def test_conformance():
        assert [result for result in omnikit.testing.check("projector/mine") if result.failed] == []

or, one test a promise: `pytest --omnikit-conformance projector/mine`. Parameters that a system derives get small
stand-ins; give others to keep the component small. A slot of a plugin brings a `Suite` of its own.

Importing this package imports no torch, so that pytest, whose plugin lives here, starts as fast as without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from omnikit.errors import OmnikitError, unknown_name
from omnikit.registry import resolve, resolve_slot, slot_entries, slots

if TYPE_CHECKING:
    from omnikit.testing.kit import Case, Result, Subject, Suite

__all__ = ["Case", "Result", "Subject", "Suite", "cases", "check", "subject"]

_SUITES = {
    "vision_encoder": "omnikit.testing.vision_encoder",
    "speech_encoder": "omnikit.testing.speech_encoder",
    "input_style": "omnikit.testing.input_style",
    "projector": "omnikit.testing.projector",
    "tokenizer": "omnikit.testing.tokenizer",
    "backbone": "omnikit.testing.backbone",
    "emitter": "omnikit.testing.emitter",
    "style": "omnikit.testing.style",
    "detokenizer": "omnikit.testing.detokenizer",
    "format": "omnikit.testing.format",
}
"""The module of each slot whose `SUITE` says what the slot promises."""


def suite_of(slot: str) -> Suite:
    """What a slot promises. Raises `UnknownName` for an unknown slot, `OmnikitError` for a broken one of a plugin."""
    if slot in _SUITES:
        return import_module(_SUITES[slot]).SUITE
    if slot not in slot_entries():
        raise unknown_name("slot", slot, slots())
    from omnikit.testing.kit import Suite

    found = resolve_slot(slot)
    if not isinstance(found, Suite):
        raise OmnikitError(
            f"The slot '{slot}' of {slot_entries()[slot].owner} is no omnikit.testing.Suite.\n"
            f"Its entry point must name one: Suite(base, needs, gives, outputs, cases)."
        )
    return found


def cases(slot: str) -> list[Case]:
    """The cases of a slot: those of every component, then its own. Raises as `suite_of` does."""
    from omnikit.testing import common, craft
    from omnikit.testing.kit import Case

    return [Case.of(hold) for hold in (*common.CASES, *craft.CASES, *suite_of(slot).cases)]


def subject(component_id: str, **params: Any) -> Subject:
    """A component with its parameters, ready for `Case.run`.

    Raises `UnknownName` for an unknown id or parameter, `OmnikitError` for a parameter that is still needed.
    """
    from omnikit.testing.kit import Subject

    resolve(component_id)
    return Subject.of(component_id, suite_of(component_id.split("/")[0]), params)


def check(component_id: str, **params: Any) -> list[Result]:
    """Hold a component to every promise of its slot; nothing is raised for a broken one, its result says it.

    Raises as `subject` does.
    """
    held = subject(component_id, **params)
    return [case.run(held) for case in cases(component_id.split("/")[0])]


def __getattr__(name: str) -> Any:
    """The records of the kit, found on first use."""
    if name not in ("Case", "Result", "Subject", "Suite"):
        raise AttributeError(f"module 'omnikit.testing' has no attribute '{name}'")
    return getattr(import_module("omnikit.testing.kit"), name)
