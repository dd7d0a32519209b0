"""Stage `detokenizer`: adversarial training of a unit-to-speech model.

Ref: Kim et al., VITS, ICML 2021, sections 2.3 and 2.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from omnikit.contracts import UnitsPort
from omnikit.data.voice_batches import VoiceRecordings
from omnikit.nn.vits_losses import discriminator_loss, feature_loss, generator_loss
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch
from omnikit.stages.base import Stage
from omnikit.stages.optim import Optim
from omnikit.types import Losses, Units

_SEEDS_PER_RUN = 1_000_003


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No gradients for the module's weights while inside."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


class DetokenizerStage(Stage):
    """Trains the detokenizer's own objective, from step `start` on also against its discriminator.

    Two AdamW of the same settings, the discriminator's first; only the detokenizer's steps count as steps of the run.
    `units` says what the batches' codes are. The random numbers of a step depend on `seed` and the step alone, so that
    a resumed run draws what an unbroken one would (dropout excepted).
    """

    step: Tensor

    def __init__(
        self, detokenizer: Detokenizer, optim: Optim, *, units: UnitsPort, start: int = 0, seed: int = 0
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.detokenizer, self.optim, self.units = detokenizer, optim, units
        self.discriminator = detokenizer.make_discriminator()
        self.start, self.seed = start, seed
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def training_step(self, batch: VoiceRecordings, index: int) -> None:
        """One step of the discriminator (once it takes part) and one of the detokenizer."""
        step = int(self.step)
        voice = self.detokenizer.training_forward(self._voice_batch(batch), self._draws(step))
        total, parts = voice.losses.total, dict(voice.losses.parts)
        if self.discriminator is not None and step >= self.start:
            parts["discriminator"] = self._teach(self.discriminator, voice.real, voice.fake.detach())
            judged = self._judge(self.discriminator, voice.real, voice.fake)
            total = total + torch.stack(list(judged.values())).sum()
            parts |= {name: loss.detach() for name, loss in judged.items()}
        total = self.checked(Losses(total, parts))
        optimizers, schedules = self.optimizers(), self.lr_schedulers()
        optimizer, schedule = (each[0] if isinstance(each, list) else each for each in (optimizers, schedules))
        optimizer.zero_grad()
        self.manual_backward(total)
        optimizer.step()
        schedule.step()
        self.step += 1

    def validation_step(self, batch: VoiceRecordings, index: int) -> None:
        """Logs the detokenizer's own losses, with the same random numbers every time."""
        voice = self.detokenizer.training_forward(self._voice_batch(batch), self._draws(-1 - index))
        size = len(batch.lengths)
        for name, loss in {"loss": voice.losses.total, **voice.losses.parts}.items():
            self.log(f"valid_{name}", loss, batch_size=size)

    def _draws(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * _SEEDS_PER_RUN + step) % 2**63)

    def _voice_batch(self, batch: VoiceRecordings) -> VoiceBatch:
        units = Units(
            codes=batch.codes,
            lengths=batch.lengths,
            sizes=tuple(self.units.codebooks),
            rate=self.units.rate,
            vocab_id=self.units.vocab_id,
            layout=self.units.layout,
        )
        return VoiceBatch(units, batch.audio, batch.durations)

    def _teach(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """One step of the discriminator on waves [B, 1, S], real and generated in one pass; returns its loss."""
        optimizer = self.optimizers(use_pl_optimizer=False)[1]  # Lightning would count its steps as the run's
        scores, _ = discriminator(torch.cat([real, fake]))
        loss = discriminator_loss([score[: len(real)] for score in scores], [score[len(real) :] for score in scores])
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.lr_schedulers()[1].step()
        return loss.detach()

    def _judge(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """What the discriminator says about generated waves [B, 1, S], as losses of the detokenizer."""
        with torch.no_grad():
            _, real_maps = discriminator(real)
        with frozen(discriminator):
            fake_scores, fake_maps = discriminator(fake)
        return {"generator": generator_loss(fake_scores), "feature": feature_loss(real_maps, fake_maps)}

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """One AdamW and its schedule for the detokenizer; the same over the remaining steps for its discriminator."""
        built = [self.optim.build(self.detokenizer.parameters())]
        if self.discriminator is not None:
            remaining = replace(self.optim, steps=max(1, self.optim.steps - self.start))
            built.append(remaining.build(self.discriminator.parameters()))
        return [optimizer for optimizer, _ in built], [schedule for _, schedule in built]
