"""What the conformance kit says of every component, kept in files beside a fingerprint of what was held.

A result is shown only while the source that it was found with is the source that is there.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from component_pages.variants import every_variant

from omnikit.registry import available, describe, fault_of
from omnikit.testing import check, subject
from omnikit.testing.reports import record_of

_TINY = "_tiny"


def hold_all(folder: Path, ids: list[str], small: Mapping[str, Mapping[str, Any]]) -> int:
    """Hold components that are usable and have no fresh result; returns 3 where one breaks a promise, else 0."""
    status = 0
    for component_id in ids or [item for item in available() if not fault_of(item)]:
        record = read_record(folder, component_id)
        if record is None:
            record = hold(component_id, small.get(component_id, {}))
            path = _path(folder, component_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
        status = status if record["conforms"] else 3
        print(f"{component_id}: {sentence_of(record)}", flush=True)
    return status


def hold(component_id: str, small: Mapping[str, Any]) -> dict[str, Any]:
    """The record of one run of the kit, with `small` parameters or those of the variant `<name>_tiny`."""
    tiny = [item.values for item in every_variant().get(component_id, []) if item.name.endswith(_TINY)]
    given = dict(small or (tiny[0] if tiny else {}))
    record = record_of(component_id, subject(component_id, **given).parameters, check(component_id, **given))
    return {
        **record,
        "parameters": given,
        "fingerprint": fingerprint(component_id),
        "versions": {name: metadata.version(name) for name in ("omnikit-core", "torch")},
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def read_record(folder: Path, component_id: str) -> dict[str, Any] | None:
    """The kept record, None where there is none or the source has changed since."""
    path = _path(folder, component_id)
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record if record["fingerprint"] == fingerprint(component_id) else None


def sentence_of(record: Mapping[str, Any]) -> str:
    """How many promises a record says are kept, broken, and not applicable."""
    outcomes = [case["outcome"] for case in record["cases"]]
    kept, broken, other = (outcomes.count(item) for item in ("passed", "failed", "not applicable"))
    return f"{kept} kept, {broken} broken, {other} not applicable"


def fingerprint(component_id: str) -> str:
    """SHA-256 over the Python files of omnikit and of the component's package, and the version of torch."""
    packages = dict.fromkeys(("omnikit", describe(component_id).target.partition(".")[0].partition(":")[0]))
    said = " ".join([*map(_source_hash, packages), metadata.version("torch")])
    return hashlib.sha256(said.encode()).hexdigest()


@cache
def _source_hash(package: str) -> str:
    spec = find_spec(package)
    digest = hashlib.sha256()
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(location).rglob("*.py")):
            digest.update(path.relative_to(location).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _path(folder: Path, component_id: str) -> Path:
    return folder / f"{component_id}.json"
