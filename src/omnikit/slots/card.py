"""How a component shows itself in a notebook: one small table, without a library and without a script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from importlib import metadata
from typing import Any

from torch import nn

from omnikit.contracts import Port, contract_of, show

_GROUP = "omnikit.components"
_LONGEST = 120
"""Characters of a value that are shown."""


def html_card(component: nn.Module, parameters: Mapping[str, Any]) -> str:
    """HTML with a component's id, its contract, its constructor's `parameters` and how many weights it has."""
    contract = contract_of(type(component), parameters)
    weights = list(component.parameters())
    learning = sum(weight.numel() for weight in weights if weight.requires_grad)
    total = sum(weight.numel() for weight in weights)
    rows = [
        ("needs", _lines(contract.needs)),
        ("gives", _lines(contract.gives)),
        ("weights", escape(f"{total:,}" + ("" if learning == total else f", of which {learning:,} learn"))),
        ("parameters", _folded(f"{name} = {_shortened(show(value))}" for name, value in parameters.items())),
    ]
    body = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{cell}</td></tr>" for name, cell in rows)
    return (
        f"<table><caption style='text-align:left'><b>{escape(_known_as(type(component)))}</b></caption>{body}</table>"
    )


def _known_as(cls: type) -> str:
    """The id that a distribution declares a class under; the name of the class where none does."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    declared = (point.name for point in metadata.entry_points(group=_GROUP) if point.value == target)
    return next(declared, cls.__name__)


def _lines(ports: Mapping[str, Port]) -> str:
    return "<br>".join(escape(f"{name}: {port}") for name, port in ports.items()) or "nothing"


def _folded(lines: Iterable[str]) -> str:
    """Lines to be opened by a click."""
    found = [escape(line) for line in lines]
    return f"<details><summary>{len(found)}</summary>{'<br>'.join(found)}</details>"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
