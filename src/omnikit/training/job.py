"""What passes between the runner and a stage's set-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from torch import nn
from torch.utils.data import Dataset

from omnikit.slots.base import Component
from omnikit.training.finish import round_to_half
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

    def settle(self, part: nn.Module) -> None:
        """Give a finished part the numbers that its file will hold, so that what is measured is what is shipped."""
        if self.config["stage"]["half"]:
            round_to_half(part)


@dataclass(frozen=True)
class Job:
    """What the runner trains: the Lightning module, its batches, and `finish`, which returns parts to save by slot.

    `complete` is False where the parts are only what a later stage starts from, and no parts of a system yet.
    `callbacks` take part in the training of every process.
    """

    module: lightning.LightningModule
    train: Dataset[Any]
    valid: Dataset[Any] | None
    finish: Callable[[], Mapping[str, Component]]
    complete: bool = True
    callbacks: Sequence[lightning.Callback] = ()
