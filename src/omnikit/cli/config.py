"""Composing a run's config: Hydra's overrides, with every mistake answered by the nearest right word."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from omnikit.cli.components_source import install
from omnikit.errors import OmnikitError, UnknownName, closest, unknown_name
from omnikit.registry import available, slots
from omnikit.training.present import of_present_parts

CONF = "omnikit.conf"


def compose_config(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The fully resolved config `name` with `overrides`, as plain data.

    Raises `UnknownName` for unknown groups, options and keys (also with `+`), each with the closest one that exists.
    """
    install()
    GlobalHydra.instance().clear()
    with initialize_config_module(config_module=CONF, version_base="1.3"):
        parsed = _parse(overrides)
        groups = [item for item in parsed if _is_group(item)]
        values = [item for item in parsed if not _is_group(item)]
        config = _compose(name, [_plain_override(item) for item in groups])
        for item in values:
            _refuse_unknown_key(item, config)
        if values:
            config = _compose(name, [_plain_override(item) for item in (*groups, *values)])
    try:
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise OmnikitError(f"The config cannot be resolved: {error}") from error
    assert isinstance(resolved, dict)
    return of_present_parts(_joined_wires({str(key): value for key, value in resolved.items()}))


def _joined_wires(config: dict[str, Any]) -> dict[str, Any]:
    """The config whose system has one list of wires: those of a system that builds on another stand behind."""
    system = config.get("system")
    if isinstance(system, dict) and "extra_wires" in system:
        system["wires"] = [*system["wires"], *system.pop("extra_wires")]
    return config


def sweep(name: str, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """One config for every combination of comma-separated, `choice(…)`, `range(…)` or `glob(…)` values.

    Each run's `out` gets a folder of its own, named by what sets it apart.
    """
    install()
    GlobalHydra.instance().clear()
    with initialize_config_module(config_module=CONF, version_base="1.3"):
        parsed = _parse(overrides)
        swept = [item.get_key_element() for item in parsed if item.is_sweep_override()]
        choices = [_values(item) for item in parsed]
    configs = []
    for combination in itertools.product(*choices):
        config = compose_config(name, combination)
        apart = ",".join(item for item in combination if item.split("=")[0] in swept)
        configs.append({**config, "out": f"{config['out']}/{apart or 'run'}"})
    return configs


def values_of(override: str) -> list[str]:
    """The values that one sweep override stands for: `a,b`, `choice(…)`, `range(…)` or `glob(…)`."""
    install()
    GlobalHydra.instance().clear()
    with initialize_config_module(config_module=CONF, version_base="1.3"):
        return [item.split("=", 1)[1] for item in _values(_parse([override])[0])]


def read_config(path: str) -> dict[str, Any]:
    """A fully resolved config from a file, e.g. the `config.yaml` of a run; nothing is composed."""
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OmnikitError(f"--config '{path}' does not exist.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OmnikitError(f"--config '{path}' is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict):
        raise OmnikitError(f"--config '{path}' holds no config; a run writes one as config.yaml.")
    return found


def _parse(overrides: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(overrides))
    except HydraException as error:
        first = str(error).splitlines()[0]
        raise OmnikitError(
            f"An override cannot be read: {first}\nWrite key=value, e.g. tokenizer=spiral_fsq or seed=1."
        ) from error


def _values(override: Override) -> list[str]:
    """Every plain override that a sweep override stands for."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _is_group(override: Override) -> bool:
    """Whether an override picks a config group (`tokenizer=…`) rather than sets a value (`tokenizer.dim=…`)."""
    loader = GlobalHydra.instance().config_loader()
    return loader.list_groups("").count(override.key_or_group.split("@")[0]) > 0


def _plain_override(override: Override) -> str:
    """The override without `+` signs: what exists is changed, nothing is ever appended."""
    return re.sub(r"^\++", "", override.input_line or "")


def _compose(name: str, overrides: Sequence[str]) -> DictConfig:
    try:
        return compose(name, overrides=list(overrides))
    except HydraException as error:
        raise _translated(error) from error


def _translated(error: HydraException) -> OmnikitError:
    text = str(error)
    missing = re.search(r"Could not (?:find|load) '([^']+)'|In '[^']+': Could not find '([^']+)'", text)
    if missing:
        group, _, option = (missing.group(1) or missing.group(2)).rpartition("/")
        loader = GlobalHydra.instance().config_loader()
        if group in slots() or loader.list_groups("").count(group):
            accepted = set(loader.get_group_options(group)) | {
                item.split("/")[1] for item in available() if item.startswith(f"{group}/")
            }
            return unknown_name(
                group, option, accepted, f"`omnikit ls {group}` lists components." if group in slots() else ""
            )
    return OmnikitError(text.splitlines()[0])


def _refuse_unknown_key(override: Override, base: DictConfig) -> None:
    key = override.key_or_group
    known = list(_keys(OmegaConf.to_container(base, resolve=False)))
    if override.is_delete():
        raise OmnikitError(f"'~{key}' would delete a setting; choose another value instead ({key}=…).")
    if key not in known:
        near = closest(key, known)
        siblings = sorted({item for item in known if item.rpartition(".")[0] == key.rpartition(".")[0]})
        shown = ", ".join(siblings[:14]) + (" …" if len(siblings) > 14 else "")
        lines = [f"Unknown config key '{key}'."]
        if shown:
            lines.append(f"Beside it there are: {shown}.")
        if near:
            lines.append(f"Did you mean '{near}'?")
        raise UnknownName("\n".join(lines))


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            path = f"{prefix}{name}"
            yield path
            yield from _keys(value, f"{path}.")
