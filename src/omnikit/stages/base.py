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
        """Log a step's losses and hand on the total.

        Raises `OmnikitError` for a total that is NaN or infinite; it names its part, the batch, and the weights behind.
        """
        parts = {f"{prefix}{name}": value.detach() for name, value in losses.parts.items()}
        if not torch.isfinite(losses.total):
            broken = [name for name, value in parts.items() if not torch.isfinite(value).all()]
            raise OmnikitError(
                f"The loss of batch {self._batch_number()} is no longer finite ({', '.join(broken) or 'total'}).\n"
                f"{self._suspects()}\n"
                "Lower the learning rate, use float32 (trainer.precision=32-true), or look at that batch: it is a\n"
                "function of the seed and its number."
            )
        self.log(f"{prefix}loss", losses.total.detach(), prog_bar=True)
        self.log_dict(parts)
        return losses.total

    def _batch_number(self) -> int:
        """The number of the batch that is being learnt, counted over resumed runs."""
        return 0 if self._trainer is None else self.trainer.fit_loop.epoch_loop.batch_progress.current.ready - 1

    def _suspects(self) -> str:
        """The weights that are no numbers any more, or the largest one where all are."""
        named = [(name, weight.detach()) for name, weight in self.named_parameters() if weight.numel()]
        broken = [name for name, weight in named if not bool(torch.isfinite(weight).all())]
        if broken:
            more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
            return f"Not finite among the weights: {', '.join(broken[:3])}{more}."
        if not named:
            return "It has no weights."
        size, name = max((float(weight.abs().max()), name) for name, weight in named)
        return f"Every weight is finite, so it is this batch; the largest one is {size:.3g}, in {name}."


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
