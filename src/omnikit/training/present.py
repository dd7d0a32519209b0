"""A stage as it is for the parts that a config chooses: what it says of parts that are `none` or plain is left out.

So one stage file serves systems with and without a part, and a run that lacks it is known by the same name as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPTIONAL = ("speech_encoder", "speech_projector", "input_style", "emitter")
"""Places that stage files may name although a system can do without."""
PLAIN = ("emitter/in_vocab",)
"""Components that do what a system without them does, and have nothing to learn."""


def of_present_parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with a stage that names no absent part: among what it trains and uses, its rates, what went before."""
    chosen = {slot: str((config.get(slot) or {}).get("component", "/none")) for slot in OPTIONAL}
    absent = {slot for slot, component in chosen.items() if component.endswith("/none") or component in PLAIN}
    if "stage" not in config or not absent:
        return dict(config)
    stage = dict(config["stage"])
    for name in ("trains", "uses", "after"):
        stage[name] = [item for item in stage[name] if item not in absent]
    settings = dict(stage["settings"])
    if "trains" in settings:
        settings["trains"] = [item for item in settings["trains"] if item not in absent]
    if "rates" in settings:
        settings["rates"] = {name: rate for name, rate in settings["rates"].items() if name not in absent}
    return {**config, "stage": {**stage, "settings": settings}}
