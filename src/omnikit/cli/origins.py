"""Where the value of a config key comes from: files in their order, overrides, then contracts and trained parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from omnikit.cli.components_source import install
from omnikit.cli.config import CONF, compose_config
from omnikit.errors import unknown_name

_ABSENT = object()
_POINTS_TO = re.compile(r"\$\{([A-Za-z0-9_.]+)\}")


@dataclass(frozen=True)
class Origin:
    """One place that set a value, and to what."""

    where: str
    value: Any


@dataclass(frozen=True)
class History:
    """The value of a key, and every place that set it; the last one won."""

    value: Any
    origins: tuple[Origin, ...]


def history(key: str, overrides: Sequence[str]) -> History:
    """The history of a key of a training run's config with `overrides`.

    Raises `UnknownName` with the nearest key for one that does not exist, and what composing or negotiating raises.
    """
    config = compose_config("train", overrides)
    value = _at(config, key.split("."))
    if value is _ABSENT:
        siblings = _at(config, key.split(".")[:-1])
        raise unknown_name("config key", key.split(".")[-1], siblings if isinstance(siblings, Mapping) else config)
    install()
    GlobalHydra.instance().clear()
    with initialize_config_module(config_module=CONF, version_base="1.3"):
        found = list(_written(key, overrides))
    derived = _derived(key, config)
    return History(derived[-1].value if derived else value, (*found, *derived))


def _written(key: str, overrides: Sequence[str]) -> Iterator[Origin]:
    """What files and overrides say of a key; where they point to another key, that one's history comes before."""
    loader = GlobalHydra.instance().config_loader()
    parsed = OverridesParser.create(loader).parse_overrides([text.lstrip("+") for text in overrides])
    groups = {
        item.get_key_element(): str(item.input_line)
        for item in parsed
        if loader.list_groups("").count(str(item.key_or_group).split("@")[0])
    }
    for default in loader.compute_defaults_list("train", list(groups.values()), RunMode.RUN).defaults:
        path, package = str(default.config_path), str(default.package or "")
        if path.startswith("hydra/"):
            continue
        loaded = loader.repository.load_config(path)  # type: ignore[attr-defined]
        if key == f"{key.split('.')[0]}.component":
            place = _place(path, loaded.path, loaded.provider)
            yield from (
                Origin(f"{place} chooses", value) for value in _choices(loaded.defaults_list, key.split(".")[0])
            )
        parts = key.split(".")
        inside = package.split(".") if package else []
        if parts[: len(inside)] != inside:
            continue
        raw = OmegaConf.to_container(loaded.config, resolve=False)
        where = _place(path, loaded.path, loaded.provider)
        chosen = groups.get(path.split("/")[0])
        where += f" (chosen by {chosen})" if chosen and path == _option(chosen) else ""
        yield from _found(raw, parts[len(inside) :], where, key, overrides)
    if key.removesuffix(".component") in groups:
        yield Origin(
            f"override {groups[key.removesuffix('.component')]}", _option(groups[key.removesuffix(".component")])
        )
    for item in parsed:
        own = item.get_key_element()
        if own in groups or not (key == own or key.startswith(f"{own}.") or own.startswith(f"{key}.")):
            continue
        rest = key[len(own) + 1 :].split(".") if key.startswith(f"{own}.") else []
        value = _at(item.value(), rest) if rest else item.value()
        if value is not _ABSENT:
            yield Origin(f"override {item.input_line}", value)


def _found(raw: Any, parts: Sequence[str], where: str, key: str, overrides: Sequence[str]) -> Iterator[Origin]:
    """A key in one file: its value there, or the history of the key that it is taken from."""
    node = raw
    for depth in range(len(parts) + 1):
        target = _POINTS_TO.fullmatch(node) if isinstance(node, str) else None
        if target is not None:
            other = ".".join((target.group(1), *parts[depth:]))
            yield from _written(other, overrides)
            yield Origin(f"{where} takes it from {other}", _last(_written(other, overrides), node))
            return
        if depth == len(parts):
            yield Origin(where, node)
        elif isinstance(node, Mapping) and parts[depth] in node:
            node = node[parts[depth]]
        else:
            return


def _last(origins: Iterator[Origin], otherwise: Any) -> Any:
    values = [origin.value for origin in origins]
    return values[-1] if values else otherwise


def _derived(key: str, config: Mapping[str, Any]) -> list[Origin]:
    """What trained parts and contracts say of a component's parameter."""
    from omnikit.training.choices import plan_of, slot_nodes

    slot, _, parameter = key.partition(".")
    if slot not in slot_nodes(config) or parameter in ("", "component", "weights"):
        return []
    plan, weights = plan_of(config)
    name, *rest = parameter.split(".")
    found = []
    node = plan.nodes[slot]
    trained = _at(node.parameters, [name, *rest])
    if slot in weights and trained is not _ABSENT:
        found.append(Origin(f"trained part {node.origin}", trained))
    found += [
        Origin(f"contract: derived from {item.said_by}", item.value)
        for item in plan.derivations
        if (item.slot, item.parameter) == (slot, name) and not rest
    ]
    return found


def _choices(defaults: Sequence[Any] | None, place: str) -> list[str]:
    """The options that the defaults of a file choose for a place of the config (a group, or `group@place`)."""
    found = []
    for item in defaults or ():
        if getattr(item, "group", None) is not None and (item.package or item.group.lstrip("/")) == place:
            found.append(f"{item.group.lstrip('/')}/{item.value}")
    return found


def _place(path: str, source: str, provider: str) -> str:
    """A config source as people know it."""
    if source.startswith("components://"):
        return f"default of {path}'s constructor"
    return f"conf/{path}.yaml" if source == f"pkg://{CONF}" else f"{path}.yaml of {provider}"


def _option(override: str) -> str:
    group, _, option = override.partition("=")
    return f"{group.split('@')[0]}/{option}"


def _at(node: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if not isinstance(node, Mapping) or part not in node:
            return _ABSENT
        node = node[part]
    return node
