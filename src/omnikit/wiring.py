"""Negotiation: from components and wires to a plan in which every dependent number is known and explained.

Nothing here allocates a weight. `negotiate` computes each contract, lets facts flow along the wires until nothing
changes, and either returns a `Plan` or raises one `ContractError` that names both ends, both values and what would fit.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omnikit.contracts import Contract, Free, OneOf, Port, bind_parameters, contract_of, show, signature_of
from omnikit.errors import ContractError, OmnikitError, closest
from omnikit.registry import available, resolve


@dataclass(frozen=True)
class Node:
    """A chosen component: its id, the parameters somebody set, and who said so (a file, an artefact, the caller)."""

    component: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "the caller"


@dataclass(frozen=True)
class Wire:
    """A connection `source_slot.source_port -> target_slot.target_port`."""

    source: str
    source_port: str
    target: str
    target_port: str

    @classmethod
    def parse(cls, text: str) -> Wire:
        """Read `tokenizer.units -> backbone.units`."""
        ends = [end.strip().split(".") for end in text.split("->")]
        if len(ends) != 2 or any(len(end) != 2 for end in ends):
            raise OmnikitError(
                f"'{text}' is no wire; write 'slot.port -> slot.port', e.g. 'tokenizer.units -> backbone.units'."
            )
        return cls(ends[0][0], ends[0][1], ends[1][0], ends[1][1])

    def __str__(self) -> str:
        return f"{self.source}.{self.source_port} -> {self.target}.{self.target_port}"


@dataclass(frozen=True)
class Derivation:
    """A parameter that a wire decided: `slot.parameter = value`, read off `said_by` (slot.port.fact)."""

    slot: str
    parameter: str
    value: Any
    said_by: str


@dataclass(frozen=True)
class Link:
    """A wire as negotiated: the port that both ends agreed on, or why nothing flows (`note`)."""

    wire: Wire
    port: Port | None
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """A system whose contracts fit: full parameters per slot, contracts, links and derivations."""

    nodes: Mapping[str, Node]
    parameters: Mapping[str, Mapping[str, Any]]
    contracts: Mapping[str, Contract]
    links: tuple[Link, ...]
    derivations: tuple[Derivation, ...]

    def explain(self) -> str:
        """One line for every derived value: what it is and who said it."""
        rows = [(f"{d.slot}.{d.parameter}", show(_frozen(d.value)), d.said_by) for d in self.derivations]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
        return "\n".join(
            f"{name:<{widths[0]}} = {value:<{widths[1]}}   from {said_by}" for name, value, said_by in rows
        )

    def draw(self) -> str:
        """The graph as text: every component, and every wire with the facts that it carries."""
        lines = []
        for slot, node in self.nodes.items():
            outside = [
                f"{name}: {port}" for name, port in self.contracts[slot].needs.items() if not self._wired(slot, name)
            ]
            lines.append(f"[{slot}] {node.component}" + (f"   <- {', '.join(outside)}" if outside else ""))
            for link in self.links:
                if link.wire.source == slot:
                    carried = link.note if link.port is None else str(link.port)
                    lines.append(
                        f"   └─ {link.wire.source_port} ── {carried} ──> [{link.wire.target}].{link.wire.target_port}"
                    )
        return "\n".join(lines)

    def _wired(self, slot: str, port: str) -> bool:
        return any(link.wire.target == slot and link.wire.target_port == port for link in self.links)


def negotiate(nodes: Mapping[str, Node], wires: Sequence[Wire]) -> Plan:
    """Derive every dependent parameter of a system, or say in at most eight lines why its parts do not fit.

    Raises `ContractError` for a misfit or a number nobody says, `UnknownName` for unknown components or parameters.
    """
    live, chosen = _live(nodes, wires), _chosen(nodes)
    try:
        return _plan(nodes, live, chosen)
    except _Misfit as found:
        ends = found.wire, found.fact, found.given, found.needed
        raise ContractError(_explain_misfit(*ends, nodes, chosen, live)) from None


def fits(nodes: Mapping[str, Node], wires: Sequence[Wire]) -> bool:
    """Whether `negotiate` finds a plan; quick for any number of systems, as nothing is explained and no fix is tried.

    Raises `UnknownName` for unknown components or parameters.
    """
    live, chosen = _live(nodes, wires), _chosen(nodes)
    try:
        _plan(nodes, live, chosen)
    except (_Misfit, ContractError):
        return False
    return True


_Parameters = dict[str, dict[str, Any]]


def _live(nodes: Mapping[str, Node], wires: Sequence[Wire]) -> list[Wire]:
    """The wires both of whose ends are there."""
    return [wire for wire in wires if wire.source in nodes and wire.target in nodes]


def _chosen(nodes: Mapping[str, Node]) -> _Parameters:
    """Full parameters of every node, before anything is derived."""
    return {
        slot: bind_parameters(node.component, resolve(node.component), node.parameters) for slot, node in nodes.items()
    }


class _Misfit(Exception):
    """Two ports of a wire that disagree on a fact."""

    def __init__(self, wire: Wire, fact: str, given: Port, needed: Port) -> None:
        super().__init__(str(wire))
        self.wire, self.fact, self.given, self.needed = wire, fact, given, needed


def _plan(nodes: Mapping[str, Node], live: Sequence[Wire], chosen: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan of nodes with full parameters. Raises `_Misfit`, or `ContractError` where no two ports disagree."""
    parameters, contracts, derivations = _settle(nodes, live, chosen)
    links = tuple(_link(wire, contracts, nodes) for wire in live)
    _refuse_unknown_numbers(nodes, parameters, live)
    return Plan(nodes, parameters, contracts, links, tuple(derivations))


def _settle(
    nodes: Mapping[str, Node], wires: Sequence[Wire], chosen: Mapping[str, Mapping[str, Any]]
) -> tuple[_Parameters, dict[str, Contract], list[Derivation]]:
    """Let facts flow along the wires until nothing changes."""
    classes = {slot: resolve(node.component) for slot, node in nodes.items()}
    parameters = {slot: dict(values) for slot, values in chosen.items()}
    derivations: list[Derivation] = []
    while True:
        contracts = {slot: contract_of(classes[slot], parameters[slot]) for slot in nodes}
        found = next(_derivations(wires, contracts), None)
        if found is None:
            return parameters, contracts, derivations
        parameters[found.slot][found.parameter] = found.value
        derivations.append(found)


def _derivations(wires: Sequence[Wire], contracts: Mapping[str, Contract]) -> Iterator[Derivation]:
    """The facts that one end states and the other end is waiting for."""
    for wire in wires:
        given = contracts[wire.source].gives.get(wire.source_port)
        needed = contracts[wire.target].needs.get(wire.target_port)
        if given is None or needed is None or type(given) is not type(needed):
            continue
        wanted = dict(needed.facts())
        for fact, value in given.facts():
            other = wanted[fact]
            if isinstance(other, Free) and not isinstance(value, Free | OneOf) and value is not None:
                yield Derivation(wire.target, other.param, value, f"{wire.source}.{wire.source_port}.{fact}")
            if isinstance(value, Free) and not isinstance(other, Free | OneOf) and other is not None:
                yield Derivation(wire.source, value.param, other, f"{wire.target}.{wire.target_port}.{fact}")


def _link(wire: Wire, contracts: Mapping[str, Contract], nodes: Mapping[str, Node]) -> Link:
    """Hold both ends of a wire against each other."""
    source, target = contracts[wire.source], contracts[wire.target]
    if wire.source_port in source.ignores or wire.target_port in target.ignores:
        return Link(wire, None, "not applicable")
    if wire.source_port not in source.gives:
        if nodes[wire.source].component.endswith("/none"):
            return Link(wire, None, "nothing (none)")
        raise _no_port(wire.source, wire.source_port, nodes, source.gives, "gives")
    if wire.target_port not in target.needs:
        raise _no_port(wire.target, wire.target_port, nodes, target.needs, "takes")
    given, needed = source.gives[wire.source_port], target.needs[wire.target_port]
    fact = _misfit(given, needed)
    if fact is None:
        return Link(wire, given)
    raise _Misfit(wire, fact, given, needed)


def _misfit(given: Port, needed: Port) -> str | None:
    """Name of the first fact on which two ports disagree ("kind": they carry different things), None if they fit."""
    if type(given) is not type(needed):
        return "kind"
    wanted = dict(needed.facts())
    for fact, value in given.facts():
        other = wanted[fact]
        if value is None or other is None or isinstance(value, Free) or isinstance(other, Free):
            continue
        accepted = other.values if isinstance(other, OneOf) else (other,)
        if _frozen(value) not in [_frozen(item) for item in accepted]:
            return fact
    return None


def _explain_misfit(
    wire: Wire,
    fact: str,
    given: Port,
    needed: Port,
    nodes: Mapping[str, Node],
    chosen: Mapping[str, Mapping[str, Any]],
    wires: Sequence[Wire],
) -> str:
    source, target = nodes[wire.source], nodes[wire.target]
    gives = given if fact == "kind" else show(_frozen(dict(given.facts())[fact]))
    wants = needed if fact == "kind" else show(_frozen(dict(needed.facts())[fact]))
    lines = [
        f"{wire} do not fit: {fact} differs.",
        f"  {source.component} gives {gives}  (set by {source.origin})",
        f"  {target.component} takes {wants}  (set by {target.origin})",
    ]
    if fact == "vocab_id":
        lines.append(
            "Units of two tokenizers are never the same units: train one part for the other, or load its own partner."
        )
        return "\n".join(lines)
    fixes = list(dict.fromkeys(_parameter_fixes(wire, nodes, chosen, wires, (given, needed))))
    others = list(_component_fixes(wire, nodes, chosen, wires))
    if fixes:
        lines.append("Fits with: " + "  or  ".join(fixes[:3]))
    if others:
        lines.append("Fits without change: " + ", ".join(others[:4]))
    if not fixes and not others:
        lines.append(f"No single parameter makes them fit; choose another {wire.source} or {wire.target}.")
    return "\n".join(lines)


def _fits(
    wire: Wire, nodes: Mapping[str, Node], chosen: Mapping[str, Mapping[str, Any]], wires: Sequence[Wire]
) -> bool:
    """Whether `wire` fits once everything has settled."""
    try:
        _, contracts, _ = _settle(nodes, wires, chosen)
        given = contracts[wire.source].gives[wire.source_port]
        needed = contracts[wire.target].needs[wire.target_port]
    except Exception:  # a tried value may be anything, and a contract may answer nonsense with any error
        return False
    return _misfit(given, needed) is None


def _parameter_fixes(
    wire: Wire,
    nodes: Mapping[str, Node],
    chosen: Mapping[str, Mapping[str, Any]],
    wires: Sequence[Wire],
    ports: tuple[Port, Port],
) -> Iterator[str]:
    """Changes of one parameter, of either end or of a part behind it, after which the wire fits: found by trying."""
    values = [value for port in ports for _, value in port.facts() if isinstance(value, int | str)]
    for slot in dict.fromkeys((wire.target, wire.source, *nodes)):
        hints = typing.get_type_hints(resolve(nodes[slot].component).__init__)
        for name, current in chosen[slot].items():
            if isinstance(current, str) and current == "derived":
                continue
            choices = typing.get_args(hints.get(name)) if typing.get_origin(hints.get(name)) is typing.Literal else ()
            alike = [value for value in values if type(value) is type(current)]
            for value in (True, False) if isinstance(current, bool) else (*choices, *alike):
                changed = {**chosen, slot: {**chosen[slot], name: value}}
                if value != current and _fits(wire, nodes, changed, wires):
                    yield f"{slot}.{name}={show(value)}"


def _component_fixes(
    wire: Wire, nodes: Mapping[str, Node], chosen: Mapping[str, Mapping[str, Any]], wires: Sequence[Wire]
) -> Iterator[str]:
    """Other registered components of either slot that fit the rest as it is."""
    for slot in (wire.target, wire.source):
        for component in available(slot):
            if component == nodes[slot].component:
                continue
            try:
                defaults = bind_parameters(component, resolve(component), {})
            except OmnikitError:
                continue
            if _fits(wire, {**nodes, slot: Node(component)}, {**chosen, slot: defaults}, wires):
                yield component


def _no_port(slot: str, port: str, nodes: Mapping[str, Node], ports: Mapping[str, Port], verb: str) -> ContractError:
    near = closest(port, ports)
    return ContractError(
        f"{nodes[slot].component} {verb} no port '{port}'.\nIt {verb}: {', '.join(ports) or 'nothing'}."
        + (f"\nDid you mean '{slot}.{near}'?" if near else "")
    )


def _refuse_unknown_numbers(nodes: Mapping[str, Node], parameters: Mapping[str, Any], wires: Sequence[Wire]) -> None:
    for slot, node in nodes.items():
        cls = resolve(node.component)
        for name in signature_of(cls):
            if parameters[slot].get(name, "derived") != "derived":
                continue
            ends = [str(wire) for wire in wires if slot in (wire.source, wire.target)]
            raise ContractError(
                f"Nobody says what {slot}.{name} of {node.component} is.\n"
                f"Wires of {slot}: {'; '.join(ends) or 'none'}.\n"
                f"Set it ({slot}.{name}=…) or wire the slot to a component that states it."
            )


def _frozen(value: Any) -> Any:
    """Lists as tuples, so that values from YAML and from Python compare equal."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
