"""What a folder of trained parts says of the system as a whole (`system.json`): its wires, and how much it writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

import yaml

from omnikit.errors import WeightsError, unknown_name
from omnikit.reply import MAX_NEW_TOKENS
from omnikit.wiring import Wire

FILE = "system.json"


@dataclass(frozen=True)
class Settings:
    """The wires of a system, and the tokens that it writes at most where a call does not say."""

    wires: tuple[Wire, ...]
    max_new_tokens: int = MAX_NEW_TOKENS


def read_wires(system: str = "emova") -> list[Wire]:
    """The wires of a system description in `omnikit.conf/system/`."""
    folder = Path(str(resources.files("omnikit.conf"))) / "system"
    path = folder / f"{system}.yaml"
    if not path.is_file():
        raise unknown_name("system", system, [item.stem for item in folder.glob("*.yaml")])
    return [Wire.parse(text) for text in yaml.safe_load(path.read_text())["wires"]]


def read_settings(root: Path) -> Settings:
    """What the file of a folder says, and the default for what it does not.

    Raises `WeightsError` for a limit that is no number from 1 on.
    """
    path = root / FILE
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    limit = told.get("max_new_tokens", MAX_NEW_TOKENS)
    if not isinstance(limit, int) or limit < 1:
        raise WeightsError(f"{path} says max_new_tokens {limit!r}; write a whole number from 1 on.")
    wires = [Wire.parse(text) for text in told["wires"]] if "wires" in told else read_wires()
    return Settings(tuple(wires), limit)


def write_settings(root: Path, wires: Sequence[Wire], max_new_tokens: int) -> None:
    """Write the file of a folder."""
    told = {
        "omnikit": metadata.version("omnikit-core"),
        "wires": [str(wire) for wire in wires],
        "max_new_tokens": max_new_tokens,
    }
    (root / FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
