"""Every registered component keeps every promise of its slot."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from conformance.small_parameters import VARIANTS

from omnikit.registry import available, entries
from omnikit.testing import Case, Subject, cases, subject


@cache
def subject_of(component_id: str, variant: str) -> Subject:
    return subject(component_id, **VARIANTS.get(component_id, {"": {}})[variant])


def every_promise() -> Iterator[object]:
    for component_id in available():
        if entries()[component_id].distribution != "omnikit-core":  # what other distributions bring, they test
            continue
        for number, variant in enumerate(VARIANTS.get(component_id, {"": {}})):
            for case in cases(component_id.split("/")[0]):
                if case.name == "compiles" and number:  # it takes long, and is about the class
                    continue
                name = f"{component_id}-{variant}-{case.name}".replace("--", "-")
                yield pytest.param(component_id, variant, case, id=name)


@pytest.mark.parametrize(("component_id", "variant", "case"), every_promise())
def test_keeps_its_promise(component_id: str, variant: str, case: Case) -> None:
    result = case.run(subject_of(component_id, variant))
    if result.outcome == "not applicable":
        pytest.skip(result.detail)
    assert not result.failed, str(result)
