"""Which components fit which, computed from their contracts: every wire of the known systems, held pair by pair.

What a third part would say (a projector's output, when it is held against an encoder) stands open in both, so that only
what the two say to each other counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal

import yaml
from component_pages.variants import config_folders

from omnikit.contracts import DERIVED, Free, Port, bind_parameters, show
from omnikit.errors import OmnikitError
from omnikit.registry import SEATS, available, describe, fault_of, resolve, slots
from omnikit.wiring import Node, Wire, negotiate

Outcome = Literal["fits", "fits with", "does not fit", "not applicable"]
_END = re.compile(r"^  (\S+) (gives|takes) (.*)  \(set by .*\)$", re.M)


@dataclass(frozen=True)
class Partner:
    """Another component held against one: what came of it, and why, in one line."""

    component: str
    outcome: Outcome
    why: str


@dataclass(frozen=True)
class Route:
    """Two places of a system, the wires between them, and the component in the middle where there is one."""

    own: str
    other: str
    wires: tuple[Wire, ...]
    middle: str = ""


@dataclass(frozen=True)
class Meeting:
    """The wires on which a component meets another slot, what stands between them, and every component there."""

    wires: tuple[Wire, ...]
    slot: str
    middle: str
    partners: tuple[Partner, ...]


@cache
def known_wires() -> tuple[Wire, ...]:
    """The wires of every system in the config folders."""
    texts: dict[str, None] = {}
    for folder in config_folders():
        for path in sorted((folder / "system").glob("*.yaml")):
            node = yaml.safe_load(path.read_text(encoding="utf-8"))
            texts |= dict.fromkeys([*node.get("wires", []), *node.get("extra_wires", [])])
    return tuple(Wire.parse(text) for text in texts)


def slot_at(seat: str) -> str:
    """The slot whose components sit at a place of a system."""
    return SEATS.get(seat, seat)


def usable(slot: str) -> list[str]:
    """The components of a slot that can be imported."""
    return [component_id for component_id in available(slot) if not fault_of(component_id)]


def meetings_of(component_id: str) -> list[Meeting]:
    """Every other slot that the component's own talks to, with what comes of each component there."""
    found: dict[tuple[str, tuple[Partner, ...]], Meeting] = {}
    for route in _routes(component_id.split("/")[0]):
        slot = slot_at(route.other)
        partners = tuple(_hold(component_id, partner, route) for partner in usable(slot))
        same = found.get((slot, partners))
        wires = tuple(dict.fromkeys((*(same.wires if same else ()), *route.wires)))
        found[slot, partners] = Meeting(wires, slot, route.middle, partners)
    return list(found.values())


def strangers_of(component_id: str) -> list[str]:
    """The slots to which the component's own never talks: any component there goes with it."""
    slot = component_id.split("/")[0]
    met = {slot_at(route.other) for route in _routes(slot)}
    return [item for item in slots() if item not in met and item != slot]


@cache
def _routes(slot: str) -> tuple[Route, ...]:
    """How a slot reaches others: by a wire, or by two wires through a slot that passes on what it is given."""
    direct: dict[tuple[str, str], list[Wire]] = {}
    for wire in known_wires():
        direct.setdefault((wire.source, wire.target), []).append(wire)
    ends = [Route(*pair, tuple(wires)) for pair, wires in direct.items()]
    for first, second in product(known_wires(), repeat=2):
        middle = _passing(first, second)
        if middle and (first.source, second.target) not in direct:
            ends.append(Route(first.source, second.target, (first, second), middle))
    ends += [Route(route.other, route.own, route.wires, route.middle) for route in ends]
    return tuple(route for route in ends if slot_at(route.own) == slot)


@cache
def _passing(first: Wire, second: Wire) -> str:
    """A component between two wires that gives at one what it is told at the other; empty unless all there do."""
    ids = usable(slot_at(first.target)) if first.target == second.source else []
    for component_id in ids:
        contract = describe(component_id).contract
        needed, given = contract.needs.get(first.target_port), contract.gives.get(second.source_port)
        if needed is None or needed != given or not any(isinstance(value, Free) for _, value in needed.facts()):
            return ""
    return ids[0] if ids else ""


@cache
def _hold(component_id: str, partner: str, route: Route) -> Partner:
    """Two components at their places, what passes between them, and nothing else."""
    nodes = {route.own: _open(component_id), route.other: _open(partner)}
    if route.middle:
        nodes[route.wires[0].target] = _open(route.middle)
    try:
        plan = negotiate(nodes, route.wires)
    except OmnikitError as error:
        return Partner(partner, *_told(str(error)))
    links = [link for link in plan.links if route.own in (link.wire.source, link.wire.target)]
    ports = [_agreed(link.port) for link in links if link.port is not None]
    return Partner(partner, "fits", "; ".join(ports)) if ports else Partner(partner, "not applicable", links[0].note)


def _agreed(port: Port) -> str:
    """What is known of a port; a third part may say the rest."""
    known = [(fact, value) for fact, value in port.facts() if value is not None and not isinstance(value, Free)]
    said = ", ".join(f"{fact}={show(value)}" for fact, value in known)
    kind = type(port).__name__.removesuffix("Port").lower()
    return f"{kind}({said})" if said else f"{kind} of any kind that a third part says"


def _open(component_id: str) -> Node:
    """A component at its defaults, in which underived parameters stand open instead of being asked for."""
    parameters = bind_parameters(component_id, resolve(component_id), {})
    waiting = [name for name, value in parameters.items() if isinstance(value, str) and value == DERIVED]
    return Node(component_id, {name: Free(name) for name in waiting}, "its default")


def _told(message: str) -> tuple[Outcome, str]:
    """The outcome and the one line that an error of negotiation comes down to."""
    lines = message.splitlines()
    fact = re.search(r"do not fit: (\w+) differs", lines[0])
    ends = [f"{component} {verb} {what.strip()}" for component, verb, what in _END.findall(message)]
    reason = f"{fact[1]}: {', '.join(ends)}" if fact and ends else lines[0]
    fixes = [line.removeprefix("Fits with: ") for line in lines if line.startswith("Fits with: ")]
    return ("fits with", f"{fixes[0]} ({reason})") if fixes else ("does not fit", reason)
