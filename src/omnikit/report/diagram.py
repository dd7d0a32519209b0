"""A system drawn from its plan: boxes for parts, arrows for wires, and on every arrow what it carries."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omnikit.contracts import AudioPort, FramesPort, ImagePort, Port, StylePort, UnitsPort, show
from omnikit.wiring import Plan

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y = 122, 54, 106, 30
_BEND = 40
_OUTSIDE = "outside"


@dataclass(frozen=True)
class _Arrow:
    source: str
    target: str
    label: tuple[str, ...]
    idle: bool


def draw_system(plan: Plan) -> str:
    """Inline SVG of a plan, inputs at the left and the voice at the right; wires of empty slots carry no label."""
    fed = {link.wire.target for link in plan.links if link.port is not None}
    starved = {link.wire.target for link in plan.links} - fed  # all that would come is none
    arrows = [
        _Arrow(
            link.wire.source,
            link.wire.target,
            port_label(link.port) if link.port else (link.note,),
            link.port is None or link.wire.source in starved,
        )
        for link in plan.links
    ]
    names = {slot: node.component for slot, node in plan.nodes.items()}
    idle = {slot for slot in names if names[slot].endswith("/none")}
    wired_in = {(link.wire.target, link.wire.target_port) for link in plan.links}
    wired_out = {(link.wire.source, link.wire.source_port) for link in plan.links}
    wired = {slot for slot, _ in wired_in | wired_out}
    for slot in (slot for slot in names if slot in wired):  # a format writes what the backbone says; no wire reaches it
        contract = plan.contracts[slot]
        for name, port in contract.needs.items():
            if (slot, name) not in wired_in:
                arrows.append(_Arrow(f"in:{name}", slot, port_label(port), slot in idle))
        for name, port in contract.gives.items():
            if (slot, name) not in wired_out and not isinstance(port, FramesPort):  # features never leave a system
                arrows.append(_Arrow(slot, f"out:{name}", port_label(port), False))
    boxes = {end: names.get(end, _OUTSIDE) for arrow in arrows for end in (arrow.source, arrow.target)}
    places = _places(boxes, arrows)
    width = max(x for x, _ in places.values()) + _BOX_WIDTH + 2
    height = max(y for _, y in places.values()) + _BOX_HEIGHT + 14
    parts = [
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path class="tip" d="M0 0.5L8 4L0 7.5z"/></marker></defs>'
    ]
    parts += [_draw_arrow(arrow, places, arrows) for arrow in sorted(arrows, key=lambda item: not item.idle)]
    parts += [_draw_box(name, component, *places[name]) for name, component in boxes.items()]
    return (
        f'<svg class="system" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{html.escape("The system: " + "; ".join(map(_sentence, arrows)))}">{"".join(parts)}</svg>'
    )


def port_label(port: Port) -> tuple[str, ...]:
    """What a port carries, in at most two short lines."""
    facts = {
        name: show(value) for name, value in port.facts() if value is not None and not str(show(value)).startswith("<")
    }
    if isinstance(port, AudioPort):
        return (f"{int(facts['sample_rate']) / 1000:g} kHz",) if "sample_rate" in facts else ("any rate",)
    if isinstance(port, ImagePort):
        side = facts.get("size", "")
        return (f"{side} × {side} px",) if side.isdigit() else ("picture",)
    if isinstance(port, UnitsPort):
        sizes = facts.get("codebooks", "").strip("[]")
        return (f"{facts['rate']} Hz" if "rate" in facts else "units", f"{sizes} units" if sizes else "")
    if isinstance(port, FramesPort):
        clock = (
            f"{facts['rate']} Hz"
            if "rate" in facts
            else (f"{facts['length']} patches" if "length" in facts else "features")
        )
        return (clock, f"× {facts['dim']}" if "dim" in facts else "")
    if isinstance(port, StylePort):
        return (facts.get("view", "style"), f"of {facts['dim']}" if facts.get("dim", "0") != "0" else "")
    return (str(port),)


def _places(boxes: Mapping[str, str], arrows: Sequence[_Arrow]) -> dict[str, tuple[float, float]]:
    """Where the boxes stand: every box just left of what it feeds; rows follow the mean row of what a box feeds."""
    order: dict[str, int] = {}

    def depth(name: str, seen: tuple[str, ...] = ()) -> int:
        if name not in order:
            later = [depth(a.target, (*seen, name)) for a in arrows if a.source == name and a.target not in seen]
            order[name] = 1 + max(later, default=-1)
        return order[name]

    last = max(depth(name) for name in boxes)
    columns = [[name for name in boxes if order[name] == last - column] for column in range(last + 1)]
    rows: dict[str, float] = {}
    for column in reversed(columns):
        wanted = {
            name: _mean([rows[a.target] for a in arrows if a.source == name and a.target in rows]) for name in column
        }
        column.sort(key=lambda name: wanted[name])
        middle = _mean(list(wanted.values()))
        for index, name in enumerate(column):
            rows[name] = middle + index - (len(column) - 1) / 2
    top = min(rows.values())
    return {
        name: (1 + column * (_BOX_WIDTH + _GAP_X), 14 + (rows[name] - top) * (_BOX_HEIGHT + _GAP_Y))
        for column, group in enumerate(columns)
        for name in group
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _draw_arrow(arrow: _Arrow, places: Mapping[str, tuple[float, float]], arrows: Sequence[_Arrow]) -> str:
    incoming = sorted((a for a in arrows if a.target == arrow.target), key=lambda a: places[a.source][1])
    offset = (incoming.index(arrow) - (len(incoming) - 1) / 2) * 14
    (x0, y0), (x1, y1) = places[arrow.source], places[arrow.target]
    x0, y0, y1 = x0 + _BOX_WIDTH, y0 + _BOX_HEIGHT / 2, y1 + _BOX_HEIGHT / 2 + offset
    bend = x1 - _BEND
    path = f"M{x0:g} {y0:g}H{x1 - 2:g}"
    if abs(y0 - y1) >= 1:
        path = f"M{x0:g} {y0:g}H{bend:g}C{bend + 20:g} {y0:g} {bend + 14:g} {y1:g} {x1 - 2:g} {y1:g}"
    kind = " idle" if arrow.idle else ""
    wire = f'<path class="wire{kind}" d="{path}" marker-end="url(#tip)"/>'
    if arrow.idle:
        return wire
    at = f'x="{x0 + 6:g}"'
    lines = "".join(
        f'<tspan {at} y="{y0 - 6 + 19 * i:g}">{html.escape(line)}</tspan>' for i, line in enumerate(arrow.label) if line
    )
    return f'{wire}<text class="fact">{lines}</text>'


def _draw_box(name: str, component: str, x: float, y: float) -> str:
    kind, title, below = "part", name.replace("_", " "), component.partition("/")[2]
    if component == _OUTSIDE:
        kind, title, below = "outside", name.partition(":")[2], "in" if name.startswith("in:") else "out"
    elif component.endswith("/none"):
        kind = "part idle"
    return (
        f'<g class="{kind}"><rect x="{x:g}" y="{y:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="8"/>'
        f'<text class="box-title" x="{x + _BOX_WIDTH / 2:g}" y="{y + 23:g}">{html.escape(title)}</text>'
        f'<text class="box-name" x="{x + _BOX_WIDTH / 2:g}" y="{y + 41:g}">{html.escape(below)}</text></g>'
    )


def _sentence(arrow: _Arrow) -> str:
    source, target = (end.partition(":")[2] or end for end in (arrow.source, arrow.target))
    return f"{source} to {target}, {' '.join(arrow.label)}"
