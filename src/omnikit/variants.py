"""Variants: parameters of a component under a name, kept in YAML files and read here without Hydra.

`conf/<slot>/<name>.yaml` of omnikit, and of every distribution with an entry point of group `omnikit.conf`, starts from
a component or from another variant (`defaults: [spiral_fsq, _self_]`) and changes some of its parameters. Composing
them with a whole experiment is what the command line does; alone, a variant is only data.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from omnikit.errors import OmnikitError
from omnikit.plugins import plugin_folders

_SELF = "_self_"
_CORE_CONF = "omnikit.conf"


def variants(slot: str) -> list[str]:
    """Ids of the variants of a slot, e.g. `tokenizer/spiral_vq`; no distribution is imported."""
    return sorted({f"{slot}/{path.stem}" for folder in _folders() for path in (folder / slot).glob("*.yaml")})


def read_variant(variant_id: str) -> tuple[str, dict[str, Any]]:
    """The component that a variant is of and what it changes; an id that is no variant comes back without changes.

    Raises `OmnikitError` for a file that is more than a base and parameters.
    """
    base, changes, seen = variant_id, dict[str, Any](), set[Path]()
    while path := _path_of(base):
        if path in seen:
            raise OmnikitError(f"{path} starts from itself.")
        seen.add(path)
        name, own = _parsed(path)
        base, changes = f"{variant_id.partition('/')[0]}/{name}", merged(own, changes)
    return base, changes


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """What `above` says over what `below` says: groups of parameters key by key, anything else as a whole."""
    result = dict(below)
    for name, value in above.items():
        known = below.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            value = merged(known, value)
        result[name] = value
    return result


def _folders() -> list[Path]:
    """The config folders, omnikit's own first, as Hydra searches them."""
    return [Path(str(resources.files(_CORE_CONF))), *plugin_folders().values()]


def _path_of(variant_id: str) -> Path | None:
    slot, _, name = variant_id.partition("/")
    if not slot.isidentifier() or not name.isidentifier():  # a file is asked for by name, never by a path
        return None
    return next((path for path in (folder / slot / f"{name}.yaml" for folder in _folders()) if path.is_file()), None)


def _parsed(path: Path) -> tuple[str, dict[str, Any]]:
    """The name that a file starts from, and the parameters that it changes."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OmnikitError(f"{path} is no YAML: {error}") from error
    bases = found.pop("defaults", None) if isinstance(found, dict) else None
    if not isinstance(bases, list) or len(bases) != 2 or bases[1] != _SELF or not isinstance(bases[0], str):
        raise OmnikitError(
            f"{path} is no variant that can be read alone: it must begin with `defaults: [NAME, {_SELF}]`,\n"
            "where NAME is the component or the variant that it starts from."
        )
    return bases[0], found
