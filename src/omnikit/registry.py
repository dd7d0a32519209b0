"""The one registry: ids `slot/name`, entry points read without importing, plugins that fail are listed as broken."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any

from omnikit.contracts import Contract, bind_parameters, contract_of, signature_of
from omnikit.errors import OmnikitError, unknown_name

GROUP = "omnikit.components"
SLOTS = (
    "vision_encoder",
    "speech_encoder",
    "projector",
    "tokenizer",
    "backbone",
    "style",
    "detokenizer",
    "format",
)
_ID = re.compile(r"[a-z][a-z0-9_]*/[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Entry:
    """Where a component lives: its id, `module:Class`, and the distribution that brings it."""

    id: str
    target: str
    distribution: str
    version: str


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
def entries() -> dict[str, Entry]:
    """Every component that an installed distribution declares, by id, without importing any of them."""
    found: dict[str, Entry] = {}
    for point in metadata.entry_points(group=GROUP):
        owner = point.dist
        entry = Entry(point.name, point.value, owner.name if owner else "unknown", owner.version if owner else "")
        _check_id(entry.id)
        clash = found.get(entry.id)
        if clash and clash != entry:
            raise OmnikitError(
                f"Two distributions bring the component '{entry.id}': {clash.distribution} ({clash.target}) "
                f"and {entry.distribution} ({entry.target}).\nUninstall one of them, or rename one component."
            )
        found[entry.id] = entry
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
    entry = entries().get(component_id)
    if entry is not None and entry.target != f"{cls.__module__}:{cls.__qualname__}":
        raise OmnikitError(
            f"The id '{component_id}' is taken by {entry.distribution} ({entry.target}); choose another name."
        )
    _registered[component_id] = cls
    return cls


def available(slot: str | None = None) -> list[str]:
    """Ids of every known component, or of one slot; nothing is imported."""
    if slot is not None and slot not in SLOTS:
        raise unknown_name("slot", slot, SLOTS)
    ids = set(entries()) | set(_registered)
    return sorted(item for item in ids if slot is None or item.startswith(f"{slot}/"))


def resolve(component_id: str) -> type:
    """The class behind an id. Raises `UnknownName` with the nearest id, or says why a plugin is broken."""
    if component_id in _registered:
        return _registered[component_id]
    entry = entries().get(component_id)
    if entry is None:
        slot = component_id.split("/")[0]
        known = available(slot) if slot in SLOTS else available()
        raise unknown_name("component", component_id, known, "`omnikit ls` lists every component.")
    module, _, attribute = entry.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise OmnikitError(
            f"The component '{component_id}' of {entry.distribution} {entry.version} is broken: {error}.\n"
            f"Reinstall or uninstall {entry.distribution}; every other component goes on working."
        ) from error


def id_of(cls: type) -> str:
    """The id under which a class is known; the inverse of `resolve`."""
    for component_id, registered in _registered.items():
        if registered is cls:
            return component_id
    target = f"{cls.__module__}:{cls.__qualname__}"
    for entry in entries().values():
        if entry.target == target:
            return entry.id
    raise OmnikitError(
        f"{target} is no registered component; call omnikit.register('slot/name', {cls.__name__}) first."
    )


def create(component_id: str, **params: Any) -> Any:
    """Build a component with random weights from its id and constructor parameters.

    Raises `UnknownName` for an unknown id or parameter and `OmnikitError` for a parameter only a system can derive.
    """
    cls = resolve(component_id)
    bound = bind_parameters(component_id, cls, params)
    missing = [name for name in signature_of(cls) if bound.get(name, "derived") == "derived"]
    if missing:
        raise OmnikitError(
            f"{component_id} alone needs {', '.join(missing)}: in a system the other end of its wires says it.\n"
            f"Give it here, e.g. create('{component_id}', {missing[0]}=…), or use System.assemble(...)."
        )
    return cls(**bound)


def describe(component_id: str) -> Description:
    """What a component is, takes and gives."""
    cls = resolve(component_id)
    entry = entries().get(component_id)
    parameters = bind_parameters(component_id, cls, {})
    full = {name: parameters.get(name, "required") for name in signature_of(cls)}
    return Description(
        id=component_id,
        target=entry.target if entry else f"{cls.__module__}:{cls.__qualname__}",
        distribution=entry.distribution if entry else "this process",
        version=entry.version if entry else "",
        doc=(cls.__doc__ or "").strip(),
        parameters=full,
        contract=contract_of(cls, full),
    )


def _check_id(component_id: str) -> None:
    if not _ID.fullmatch(component_id):
        raise OmnikitError(
            f"'{component_id}' is no component id; write slot/name in lower snake case, e.g. tokenizer/spiral_fsq."
        )
    slot = component_id.split("/")[0]
    if slot not in SLOTS:
        raise unknown_name("slot", slot, SLOTS)
