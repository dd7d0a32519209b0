"""A contract as a picture: what goes in, the component, what comes out, in HTML that follows the page's colours."""

from __future__ import annotations

from html import escape
from typing import Any

from omnikit.contracts import Contract, Free, Port, show

_HERTZ = ("sample_rate", "rate", "min_hz", "max_hz")


def draw_contract(component_id: str, contract: Contract) -> str:
    """One line of HTML; its text reads as words without any style, too."""
    needs = [_port(name, port) for name, port in contract.needs.items()]
    needs += [
        f'<div class="port ignored"><b>{escape(name)}</b> <span>not applicable</span></div>'
        for name in sorted(contract.ignores)
    ]
    gives = [_port(name, port) for name, port in contract.gives.items()]
    slot, _, name = component_id.partition("/")
    parts = [
        f'<div class="ports">{" ".join(needs) or _NOTHING}</div>',
        _ARROW,
        f'<div class="part"><small>{escape(slot)}</small> <b>{escape(name)}</b> <span>{streaming(contract)}</span></div>',
        _ARROW,
        f'<div class="ports">{" ".join(gives) or _NOTHING}</div>',
    ]
    return f'<div class="contract">{" ".join(parts)}</div>'


_ARROW = '<div class="arrow" aria-hidden="true"></div>'
_NOTHING = '<div class="port ignored"><b>nothing</b></div>'


def streaming(contract: Contract) -> str:
    """What a contract says of time: causal or not, and how far ahead it looks."""
    ahead = contract.lookahead_ms
    said = "causal" if contract.causal else "not causal"
    return (
        said if ahead is None else f"{said}, look-ahead {show(round(ahead))} ms" if ahead else f"{said}, no look-ahead"
    )


def _port(name: str, port: Port) -> str:
    facts = [(fact, value) for fact, value in port.facts() if value is not None]
    rows = " ".join(f"<dt>{escape(fact)}</dt> <dd>{_value(fact, value)}</dd>" for fact, value in facts)
    kind = type(port).__name__.removesuffix("Port").lower()
    said = [f"<b>{escape(name)}</b>", "" if kind == name else f"<small>{escape(kind)}</small>"]
    said.append(f"<dl>{rows}</dl>" if rows else "<span>any</span>")
    return f'<div class="port">{" ".join(filter(None, said))}</div>'


def _value(fact: str, value: Any) -> str:
    if isinstance(value, Free):
        return f'<i title="parameter {escape(value.param)}">from the other end</i>'
    if fact == "codebooks" and isinstance(value, tuple | list) and len(value) > 1 and len(set(value)) == 1:
        return f"{len(value)} × {escape(show(value[0]))}"
    return escape(show(tuple(value) if isinstance(value, list) else value)) + (" Hz" if fact in _HERTZ else "")
