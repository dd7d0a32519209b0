"""Batches that are learnt in pieces: the gradients are those of the whole batch, the memory is that of one piece.

A piece's loss is a mean over its trained tokens. It is weighed by their share of all that every piece of every process
trains, so how a batch was cut changes nothing. All processes have as many pieces, because weights that are shared out
are put together for each of them; copies of the weights exchange their gradients once, with the last piece.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from omnikit.data.language_batches import TASKS, LanguageBatch
from omnikit.nn.processes import num_processes, sum_over_processes
from omnikit.stages.base import Stage
from omnikit.stages.shares import of_whole_mixture
from omnikit.types import Losses


class LearntInPieces(Stage):
    """A stage that learns a batch piece by piece: `batch` itself, then its `rest`."""

    uses_weights: ClassVar[tuple[str, ...]] = ("of_piece",)
    """Methods in which weights are read; one call is one pass forward, and one pass back behind it."""

    @abstractmethod
    def of_piece(
        self, piece: LanguageBatch, draws: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
        """The mean loss of a piece, that of every task, and how many trained tokens of each task count."""

    @abstractmethod
    def count_trained(self, piece: LanguageBatch) -> int:
        """The trained tokens of a piece, before anything is read."""

    def losses(self, batch: LanguageBatch, draws: torch.Generator | None = None, learn: bool = False) -> Losses:
        """Mean loss of all trained tokens of the whole batch; parts: the mean of each task.

        With `learn`, every piece but the last has given its gradients; those of the last come by the total.
        """
        pieces = (batch, *batch.rest)
        if len(pieces) == 1:
            total, means, counted = self.of_piece(batch, draws)
            return of_whole_mixture(Losses(total, means), counted, TASKS)
        counts = [self.count_trained(piece) for piece in pieces]
        trained = torch.tensor(float(sum(counts)), dtype=torch.float64, device=self.device)
        everywhere = float(sum_over_processes(trained)) / num_processes()
        value, loss = trained.new_zeros(()), torch.zeros((), device=self.device)
        sums: dict[str, Tensor] = {}
        tokens: dict[str, float] = {}
        for number, (piece, count) in enumerate(zip(pieces, counts, strict=True)):
            total, means, counted = self.of_piece(piece, draws)
            value += total.detach() * count
            for task, own in counted.items():
                sums[task] = means[task] * own + sums.get(task, 0.0)
                tokens[task] = own + tokens.get(task, 0.0)
            share = total * (count / everywhere)
            loss = share if learn else loss + share
            if learn and number + 1 < len(pieces):
                self._backward(loss)
        means = {task: summed / max(tokens[task], 1) for task, summed in sums.items()}
        mean = (value / max(sum(counts), 1)).to(loss.dtype)
        whole = of_whole_mixture(Losses(mean, means), tokens, TASKS)
        return Losses(loss + (whole.total - loss).detach(), whole.parts)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Drop the gradients of the step before, as the pieces of this one add to each other's."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Nothing: Lightning calls this behind `training_step`, when the gradients of some pieces are there."""

    def _backward(self, loss: Tensor) -> None:
        """Add a piece's gradients, outside of the autocast that its loss was computed in."""
        if self._trainer is None:
            loss.backward()
            return
        with torch.autocast(self.device.type, enabled=False):
            self.trainer.strategy.backward(loss, None)
        torch.clear_autocast_cache()


def num_samples(batch: LanguageBatch) -> int:
    """Samples of all pieces of a batch."""
    return sum(len(piece.samples) for piece in (batch, *batch.rest))
