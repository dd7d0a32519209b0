"""What the kit found, for people and for machines: lines, a record, a badge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from omnikit.errors import OmnikitError
from omnikit.plugins import CONTRACT_API

if TYPE_CHECKING:
    from omnikit.testing.kit import Result

_MARKS = {"passed": "✓", "failed": "✗", "not applicable": "–"}


def parse_parameters(words: Sequence[str]) -> dict[str, Any]:
    """`["dim=8", "levels=[4, 4]"]` as parameters; values are read as YAML data. Raises `OmnikitError` for others."""
    parameters = {}
    for word in words:
        name, equals, value = word.partition("=")
        try:
            parameters[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise OmnikitError(f"The value of '{word}' cannot be read; write it as in YAML, e.g. dim=8.") from error
        if not equals or not name.isidentifier():
            raise OmnikitError(f"'{word}' is no parameter; write name=value, e.g. dim=8 or levels=[4,4].")
    return parameters


def lines_of(results: Sequence[Result]) -> list[str]:
    """A line a case, with what was found below those that failed; a sum at the end."""
    width = max((len(result.case) for result in results), default=0)
    lines = []
    for result in results:
        said = result.promise if result.outcome != "not applicable" else result.detail
        lines.append(f"{_MARKS[result.outcome]} {result.case:<{width}}  {said}")
        lines += [f"    {line}" for line in result.detail.splitlines() if result.failed]
    return [*lines, summary_of(results)]


def summary_of(results: Sequence[Result]) -> str:
    """How many promises are kept, broken, and do not apply."""
    counts = {outcome: sum(result.outcome == outcome for result in results) for outcome in _MARKS}
    return f"{counts['passed']} kept, {counts['failed']} broken, {counts['not applicable']} not applicable"


def record_of(component_id: str, parameters: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """Everything as plain data."""
    return {
        "component": component_id,
        "contract_api": CONTRACT_API,
        "parameters": dict(parameters),
        "conforms": not any(result.failed for result in results),
        "cases": [
            {"case": item.case, "outcome": item.outcome, "promise": item.promise, "detail": item.detail}
            for item in results
        ],
    }


def badge_of(results: Sequence[Result]) -> dict[str, Any]:
    """A badge as shields.io reads it from an address (its `endpoint` schema, version 1)."""
    applied = [result for result in results if result.outcome != "not applicable"]
    kept = sum(not result.failed for result in applied)
    return {
        "schemaVersion": 1,
        "label": f"omnikit conformance, API {CONTRACT_API}",
        "message": f"{kept}/{len(applied)}",
        "color": "brightgreen" if kept == len(applied) else "red",
    }
