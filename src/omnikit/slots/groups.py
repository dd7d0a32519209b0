"""Grouped constructor parameters: plain data under one name, read into a frozen dataclass that knows every key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from omnikit.errors import OmnikitError, unknown_name

Group = TypeVar("Group")


def plain(group: Any) -> dict[str, Any]:
    """The values of a group as plain data."""
    return {name: _plain(value) for name, value in asdict(group).items()}


def read_group(group: type[Group], name: str, given: Mapping[str, Any]) -> Group:
    """A group from plain data over its defaults; lists become tuples.

    Raises `UnknownName` for a key that the group lacks, `OmnikitError` for a value of another kind.
    """
    known = {item.name: item.default for item in fields(group)}  # type: ignore[arg-type]
    for key, value in given.items():
        if key not in known:
            raise unknown_name(f"key of '{name}'", key, known)
        default = known[key]
        kinds: tuple[type, ...] = (type(default),)
        if isinstance(default, float):
            kinds = (int, float)
        elif isinstance(default, tuple):
            kinds = (list, tuple)
        if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise OmnikitError(
                f"'{name}.{key}' is {value!r}; a value like {_plain(default)!r} is accepted ({type(default).__name__})."
            )
    return group(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
