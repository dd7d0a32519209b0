"""Where components may come from: installed distributions that are allowed and fit, and files given by hand.

Two environment variables decide, read once a process and passed on to every child process:

- `OMNIKIT_PLUGINS`: `none`, or the distributions that may be used, separated by commas; unset, all are.
- `OMNIKIT_PLUGIN_FILES`: Python files whose components are registered (`--plugin FILE` of the command line sets it).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from omnikit.errors import OmnikitError, unknown_name

CORE = "omnikit-core"
CONTRACT_API = 1
"""Version of what a plugin builds on: contracts, ports, the slots' classes. It changes when a plugin has to."""
COMPONENT_GROUP, SLOT_GROUP, CONF_GROUP, API_GROUP = (
    "omnikit.components",
    "omnikit.slots",
    "omnikit.conf",
    "omnikit.api",
)
ALLOWED_VARIABLE, FILES_VARIABLE = "OMNIKIT_PLUGINS", "OMNIKIT_PLUGIN_FILES"


@dataclass(frozen=True)
class Point:
    """An entry point with the distribution that declares it; `fault` says why it cannot be used, where it cannot."""

    name: str
    target: str
    distribution: str
    version: str
    fault: str = ""

    @property
    def owner(self) -> str:
        """Distribution and version as people write them."""
        return f"{self.distribution} {self.version}".strip()


def points(group: str) -> list[Point]:
    """The entry points of a group that allowed distributions declare, read without importing anything.

    Raises `UnknownName` where `OMNIKIT_PLUGINS` names a distribution that brings nothing.
    """
    faults = {_owner(item)[0]: _api_fault(item.name, *_owner(item)) for item in _declared(API_GROUP)}
    found = []
    for item in _declared(group):
        distribution, version = _owner(item)
        found.append(Point(item.name, item.value, distribution, version, faults.get(distribution, "")))
    return found


def _declared(group: str) -> list[metadata.EntryPoint]:
    """The entry points of a group whose distributions `OMNIKIT_PLUGINS` leaves in."""
    every = list(metadata.entry_points(group=group))
    said = os.environ.get(ALLOWED_VARIABLE)
    if said is None:
        return every
    wanted = {_canonical(name) for name in said.split(",") if name.strip()} - {"none"}
    if wanted:
        groups = (COMPONENT_GROUP, SLOT_GROUP, CONF_GROUP)
        installed = {_canonical(_owner(item)[0]) for name in groups for item in metadata.entry_points(group=name)}
        for name in sorted(wanted - installed):
            raise unknown_name(
                f"distribution in {ALLOWED_VARIABLE}", name, installed - {CORE}, "Write 'none' to use none of them."
            )
    return [item for item in every if _canonical(_owner(item)[0]) in {*wanted, CORE}]


def _owner(item: Any) -> tuple[str, str]:
    return (item.dist.name, item.dist.version) if item.dist else ("unknown", "")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _api_fault(declared: str, distribution: str, version: str) -> str:
    if declared == str(CONTRACT_API):
        return ""
    return (
        f"{distribution} {version} was written for contract API {declared}, this omnikit has {CONTRACT_API}; "
        f"install a release of {distribution} for API {CONTRACT_API}, or the omnikit-core that it names"
    )


def plugin_folders() -> dict[str, Path]:
    """The config folders of installed distributions, by the name of their entry point; missing ones are left out."""
    folders = {}
    for point in points(CONF_GROUP):
        package, *inside = point.target.split(".")
        spec = importlib.util.find_spec(package)  # of a top-level package: nothing is run
        for location in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(location, *inside)
            if folder.is_dir():
                folders[point.name] = folder
    return folders


def import_target(target: str) -> Any:
    """The object `module:name`. Raises whatever the import raises."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def reason_of(error: BaseException) -> str:
    """Why an import failed, in one line."""
    first = next(iter(str(error).splitlines()), "")
    return first if isinstance(error, ImportError) and first else f"{type(error).__name__}: {first}".rstrip(": ")


def add_files(paths: Iterable[str]) -> None:
    """Put files into `OMNIKIT_PLUGIN_FILES`, for this process and its children; `load_files` runs them."""
    known = _listed_files()
    known += [path for path in (Path(item).expanduser().resolve() for item in paths) if path not in known]
    if known:
        os.environ[FILES_VARIABLE] = os.pathsep.join(map(str, known))


def load_files() -> None:
    """Run every file of `OMNIKIT_PLUGIN_FILES` that this process has not run yet.

    Raises `OmnikitError` that names the file: where it is not there, raises, or is no Python.
    """
    for path in _listed_files():
        name = f"omnikit_plugin_{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}_{zlib.crc32(str(path).encode()):08x}"
        if name in sys.modules:
            continue
        if path.suffix != ".py" or not path.is_file():
            raise OmnikitError(
                f"The plugin {path} is no Python file; give the path of a .py file that registers parts."
            )
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise OmnikitError(f"The plugin {path} is broken: {reason_of(error)}.") from error


def _listed_files() -> list[Path]:
    return [Path(item) for item in os.environ.get(FILES_VARIABLE, "").split(os.pathsep) if item]
