"""What all stages share: batches are frozen records, and a loss that is no number stops the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import lightning
import torch

from omnikit.errors import OmnikitError
from omnikit.types import Losses


class Stage(lightning.LightningModule):
    """Base of the training stages."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves the tensors of nested frozen records."""
        return move(batch, device)

    def checked(self, losses: Losses, prefix: str = "") -> torch.Tensor:
        """Log a step's losses and hand on the total; raises `OmnikitError` naming the part that is NaN or infinite."""
        parts = {f"{prefix}{name}": value.detach() for name, value in losses.parts.items()}
        if not torch.isfinite(losses.total):
            broken = [name for name, value in parts.items() if not torch.isfinite(value)]
            raise OmnikitError(
                f"The loss is no longer finite ({', '.join(broken) or 'total'}).\n"
                "Lower the learning rate, use float32 (trainer.precision=32-true), or look at the last batch."
            )
        self.log(f"{prefix}loss", losses.total.detach(), prog_bar=True)
        self.log_dict(parts)
        return losses.total


def move(value: Any, device: torch.device) -> Any:
    """`value` with every tensor inside on `device`."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: move(getattr(value, item.name), device) for item in fields(value)})
    if isinstance(value, Mapping):
        return {name: move(item, device) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(move(item, device) for item in value)
    return value
