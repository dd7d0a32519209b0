"""What all stages share: batches are frozen records, and a loss or a gradient that is no number stops the run."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

from omnikit.errors import OmnikitError
from omnikit.nn.devices import move
from omnikit.stages.finite import held, listed, norm_of_gradients, not_finite, weights_of
from omnikit.types import Losses


class Stage(lightning.LightningModule):
    """Base of the training stages.

    A step is taken only with finite gradients: their norm, which clipping takes anyway, is looked at before the
    optimiser is. All processes see the same norm, so all of them stop. Left alone are float16, whose scaler skips such
    steps, and DeepSpeed, whose engine keeps the gradients to itself.
    """

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

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Look at the gradients of a stage that steps its optimisers itself; for others, clipping does."""
        if not self.automatic_optimization and not self._others_decide():
            self._finite_norm(optimizer)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm of the gradients, once it is known to be finite."""
        if self._others_decide():
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        norm = self._finite_norm(optimizer)
        if gradient_clip_val:
            clip_grads_with_norm_(weights_of(optimizer), gradient_clip_val, norm)

    def _others_decide(self) -> bool:
        """Whether a scaler or an engine sees to gradients that are not finite."""
        plugin = self.trainer.precision_plugin
        return isinstance(plugin, DeepSpeedPrecision) or getattr(plugin, "scaler", None) is not None

    def _finite_norm(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """The norm of an optimiser's gradients; raises `OmnikitError` where it is NaN or infinite, naming whose."""
        weights = weights_of(optimizer)
        norm = norm_of_gradients(weights)
        if bool(torch.isfinite(norm)):
            return norm
        learning = {id(weight) for weight in weights}
        broken = not_finite(
            (name, weight.grad)
            for name, weight in self.named_parameters()
            if id(weight) in learning and weight.grad is not None
        )
        whose = listed(broken) if broken else "their norm alone, or those in another process"
        raise OmnikitError(
            f"The gradients of batch {self._batch_number()} are no longer finite: {whose}.\n"
            "No weight has taken them.\n"
            "Lower the learning rate, use float32 (trainer.precision=32-true), or look at that batch: it is a\n"
            "function of the seed and its number."
        )

    def _batch_number(self) -> int:
        """The number of the batch that is being learnt, counted over resumed runs."""
        return 0 if self._trainer is None else self.trainer.fit_loop.epoch_loop.batch_progress.current.ready - 1

    def _suspects(self) -> str:
        """The weights that are no numbers any more, or the largest one where all are."""
        named = [(name, held(weight)) for name, weight in self.named_parameters() if held(weight).numel()]
        broken = not_finite(named)
        if broken:
            return f"Not finite among the weights: {listed(broken)}."
        if not named:
            return "It has no weights."
        size, name = max((float(weight.abs().max()), name) for name, weight in named)
        return f"Every weight is finite, so it is this batch; the largest one is {size:.3g}, in {name}."
