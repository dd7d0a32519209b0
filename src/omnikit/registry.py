"""The one registry: ids `slot/name`, entry points read without importing, plugins that fail are listed as broken."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from omnikit.contracts import Contract, bind_parameters, contract_of, signature_of
from omnikit.errors import OmnikitError, naming_extras, unknown_name
from omnikit.plugins import (
    COMPONENT_GROUP,
    CORE,
    SLOT_GROUP,
    Point,
    import_target,
    load_files,
    points,
    reason_of,
)
from omnikit.variants import merged, read_variant

SLOTS = (
    "vision_encoder",
    "speech_encoder",
    "input_style",
    "projector",
    "tokenizer",
    "backbone",
    "emitter",
    "style",
    "detokenizer",
    "format",
)
"""The slots of omnikit itself; `slots()` has those that plugins bring as well."""
SEATS = {"speech_projector": "projector"}
"""Places of a system beyond one a slot, with the slot whose components sit there (`projector@speech_projector=mlp`)."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Description:
    """What `describe` tells of a component: where it comes from, its parameters with defaults, and its contract."""

    id: str
    target: str
    distribution: str
    version: str
    doc: str
    parameters: dict[str, Any]
    contract: Contract


_registered: dict[str, type] = {}


@lru_cache(maxsize=1)
def entries() -> dict[str, Point]:
    """Every component that an installed distribution declares, by id, without importing any of them.

    One that cannot be used (a clash, an id that is none, another contract API) says why in its `fault`.
    """
    return _one_owner_each(
        replace(point, fault=point.fault or _id_fault(point.name)) for point in points(COMPONENT_GROUP)
    )


@lru_cache(maxsize=1)
def slot_entries() -> dict[str, Point]:
    """The slots that plugins bring, by name: entry points of group `omnikit.slots` to a `testing.Suite`."""
    return _one_owner_each(replace(point, fault=point.fault or _slot_fault(point.name)) for point in points(SLOT_GROUP))


def slots() -> tuple[str, ...]:
    """Every slot: omnikit's own, then those of plugins."""
    return (*SLOTS, *sorted(name for name, point in slot_entries().items() if not point.fault))


def _one_owner_each(declared: Iterable[Point]) -> dict[str, Point]:
    found: dict[str, Point] = {}
    for point in declared:
        other = found.get(point.name)
        if other and (other.target, other.distribution) != (point.target, point.distribution):
            fault = (
                f"two distributions bring it, {other.distribution} ({other.target}) and {point.distribution} "
                f"({point.target}); uninstall one of them, leave one out of OMNIKIT_PLUGINS, or rename one"
            )
            point = replace(point, distribution=f"{other.distribution} and {point.distribution}", fault=fault)
        found[point.name] = point
    return found


def register(component_id: str, cls: type | None = None) -> Any:
    """Register a class under `slot/name` for this process; works as a decorator too.

    Installed distributions use an entry point of group `omnikit.components` instead. Registering the same class twice
    is harmless; another class under a taken id is an error that names both.
    """
    if cls is None:
        return lambda decorated: register(component_id, decorated)
    _check_id(component_id)
    owner = _registered.get(component_id)
    if owner is not None and owner is not cls:
        raise OmnikitError(
            f"The id '{component_id}' is taken by {owner.__module__}:{owner.__qualname__}; choose another name."
        )
    point = entries().get(component_id)
    if point is not None and point.target != f"{cls.__module__}:{cls.__qualname__}":
        raise OmnikitError(
            f"The id '{component_id}' is taken by {point.distribution} ({point.target}); choose another name."
        )
    _registered[component_id] = cls
    return cls


def available(slot: str | None = None) -> list[str]:
    """Ids of every known component, or of one slot; no distribution is imported."""
    load_files()
    known = slots()
    if slot is not None and slot not in known:
        raise unknown_name("slot", slot, known)
    ids = {item for item in entries() if not _id_fault(item)} | set(_registered)
    return sorted(item for item in ids if slot is None or item.startswith(f"{slot}/"))


def resolve(component_id: str) -> type:
    """The class behind an id. Raises `UnknownName` with the nearest id, or says why a plugin is broken."""
    load_files()
    if component_id in _registered:
        return _registered[component_id]
    point = entries().get(component_id)
    if point is None:
        slot = component_id.split("/")[0]
        known = available(slot) if slot in slots() else available()
        raise unknown_name("component", component_id, known, "`omnikit ls` lists every component.")
    return _imported(point, f"component '{component_id}'")


def resolve_slot(slot: str) -> Any:
    """The `testing.Suite` of a slot that a plugin brings. Raises as `resolve` does."""
    point = slot_entries().get(slot)
    if point is None:
        raise unknown_name("slot", slot, slots())
    return _imported(point, f"slot '{slot}'")


def _imported(point: Point, what: str) -> Any:
    if point.fault:
        raise OmnikitError(f"The {what} of {point.owner} cannot be used: {point.fault}.")
    try:
        return import_target(point.target)
    except (Exception, SystemExit) as error:
        raise OmnikitError(
            f"The {what} of {point.owner} is broken: {reason_of(error)}.\n"
            f"Reinstall or uninstall {point.distribution}; every other component goes on working."
        ) from error


def fault_of(component_id: str) -> str:
    """Why a component cannot be used, in one line; empty where it can. Imports it, unless it is omnikit's own."""
    point = entries().get(component_id)
    if component_id in _registered or point is None:
        return ""
    if point.fault or point.distribution == CORE:
        return point.fault
    try:
        import_target(point.target)
    except (Exception, SystemExit) as error:
        return reason_of(error)
    return ""


def id_of(cls: type) -> str:
    """The id under which a class is known; the inverse of `resolve`."""
    for component_id, registered in _registered.items():
        if registered is cls:
            return component_id
    target = f"{cls.__module__}:{cls.__qualname__}"
    for point in entries().values():
        if point.target == target:
            return point.name
    raise OmnikitError(
        f"{target} is no registered component; call omnikit.register('slot/name', {cls.__name__}) first."
    )


def create(component_id: str, **params: Any) -> Any:
    """Build a component with random weights from its id, or that of a variant, and constructor parameters.

    Raises `UnknownName` for an unknown id or parameter and `OmnikitError` for a parameter only a system can derive, and
    for a library that is not installed.
    """
    component_id, preset = _preset(component_id)
    cls = resolve(component_id)
    bound = bind_parameters(component_id, cls, {**preset, **params})
    missing = [name for name in signature_of(cls) if bound.get(name, "derived") == "derived"]
    if missing:
        raise OmnikitError(
            f"{component_id} alone needs {', '.join(missing)}: in a system the other end of its wires says it.\n"
            f"Give it here, e.g. create('{component_id}', {missing[0]}=…), or use System.assemble(...)."
        )
    with naming_extras(component_id):
        return cls(**bound)


def describe(component_id: str) -> Description:
    """What a component, or a variant of one, is, takes and gives."""
    component_id, preset = _preset(component_id)
    cls = resolve(component_id)
    point = entries().get(component_id)
    parameters = bind_parameters(component_id, cls, preset)
    full = {name: parameters.get(name, "required") for name in signature_of(cls)}
    return Description(
        id=component_id,
        target=point.target if point else f"{cls.__module__}:{cls.__qualname__}",
        distribution=point.distribution if point else "this process",
        version=point.version if point else "",
        doc=(cls.__doc__ or "").strip(),
        parameters=full,
        contract=contract_of(cls, full),
    )


def _preset(some_id: str) -> tuple[str, dict[str, Any]]:
    """The component behind an id, and the parameters in which a variant of that id departs from its defaults."""
    if some_id in _registered or some_id in entries():
        return some_id, {}
    component_id, changes = read_variant(some_id)
    full = merged(bind_parameters(component_id, resolve(component_id), {}), changes)
    return component_id, {name: full[name] for name in changes}


def _check_id(component_id: str) -> None:
    slot, _, name = component_id.partition("/")
    if _NAME.fullmatch(slot) and _NAME.fullmatch(name) and slot not in slots():
        raise unknown_name("slot", slot, slots())
    if fault := _id_fault(component_id):
        raise OmnikitError(fault)


def _id_fault(component_id: str) -> str:
    slot, _, name = component_id.partition("/")
    if not _NAME.fullmatch(slot) or not _NAME.fullmatch(name):
        return f"'{component_id}' is no component id; write slot/name in lower snake case, e.g. tokenizer/spiral_fsq"
    return (
        "" if slot in slots() else f"there is no slot '{slot}'; a slot of its own needs an entry point of {SLOT_GROUP}"
    )


def _slot_fault(name: str) -> str:
    if name in (*SLOTS, *SEATS):
        return f"the slot '{name}' is omnikit's own; choose another name"
    return "" if _NAME.fullmatch(name) else f"'{name}' is no slot; write it in lower snake case"
