"""What passes between the runner and a stage's set-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from torch.utils.data import Dataset

from omnikit.slots.base import Component
from omnikit.wiring import Plan


@dataclass(frozen=True)
class Context:
    """What a stage needs to set itself up: config and settings, the plan, its parts, the corpus, and where it resumes.

    `weights` holds the folders that trained parts came from; a slot that is not in it starts from nothing.
    """

    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    plan: Plan
    parts: Mapping[str, Component]
    weights: Mapping[str, Path]
    corpus: Path
    folder: Path
    seed: int
    start: int


@dataclass(frozen=True)
class Job:
    """What the runner trains: the Lightning module, its batches, and `finish`, which returns parts to save by slot."""

    module: lightning.LightningModule
    train: Dataset[Any]
    valid: Dataset[Any] | None
    finish: Callable[[], Mapping[str, Component]]
