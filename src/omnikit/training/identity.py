"""What a training run is known by: everything that can change its result, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from omnikit.wiring import Plan

CHANGE_RESULTS = ("precision", "gradient_clip")
"""Settings of the trainer that change what is learnt; the others say where and how fast."""
SHOW_RESULTS = ("media",)
"""Settings of a stage that change only what is shown while it trains."""


def slots_of(stage: Mapping[str, Any]) -> list[str]:
    """The slots that a stage touches; no other part of the system can change its result."""
    return list(dict.fromkeys((*stage["trains"], *stage["requires"], *stage["uses"])))


def run_key(config: Mapping[str, Any], identity: Mapping[str, Any], plan: Plan, weights: Mapping[str, str]) -> str:
    """Hash of everything that can change the result: the stage, its parts and their weights, the data, the seed.

    `weights` names the contents that a slot starts from: a sha256, or the key of the run that will make them.
    """
    parts = {
        slot: {
            "component": plan.nodes[slot].component,
            "parameters": plan.parameters[slot],
            "weights": weights.get(slot),
        }
        for slot in slots_of(config["stage"])
        if slot in plan.nodes
    }
    settings = {name: value for name, value in config["stage"]["settings"].items() if name not in SHOW_RESULTS}
    kept = {
        "stage": {**config["stage"], "settings": settings},
        "seed": config["seed"],
        "trainer": {name: config["trainer"][name] for name in CHANGE_RESULTS},
        "parts": parts,
        "data": {**config["data"], "path": None, "identity": identity},
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]
