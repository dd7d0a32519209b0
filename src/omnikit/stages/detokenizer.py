"""Stage `detokenizer`: adversarial training of a unit-to-speech model.

Ref: Kim et al., VITS, ICML 2021, sections 2.3 and 2.4.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn

from omnikit.contracts import UnitsPort
from omnikit.data.voice_batches import VoiceRecordings
from omnikit.errors import OmnikitError
from omnikit.nn.folding import folded
from omnikit.nn.label_readers import StyleReaders
from omnikit.nn.processes import sum_over_processes
from omnikit.nn.running_average import follow, growing_share
from omnikit.nn.vits_losses import discriminator_loss, feature_loss, generator_loss
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch
from omnikit.stages.base import Stage
from omnikit.stages.draws import dropout_of, generator
from omnikit.stages.optim import Optim
from omnikit.stages.shares import of_whole_batch
from omnikit.types import Losses, Units

_TRAINING, _VALIDATION = 0, 1


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
    `units` says what the batches' codes are. With `style_weight` above 0, readers that are thrown away afterwards name
    the labels of `factors` (values by name) from the style vector that the detokenizer hears, at that weight; vectors
    that batches tell are learnt by nobody, and not read. With `average_keep` above 0 a running average of the
    detokenizer, of which that share stays at every step, is what is validated, heard and shipped. What is drawn is a
    function of `seed`, the step and the row; dropout of seed, step and process. Raises `OmnikitError` for an
    `average_keep` that is no share.
    """

    step: Tensor

    def __init__(
        self,
        detokenizer: Detokenizer,
        optim: Optim,
        *,
        units: UnitsPort,
        start: int = 0,
        seed: int = 0,
        average_keep: float = 0.0,
        factors: Mapping[str, Sequence[str]] | None = None,
        style_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= average_keep < 1:
            raise OmnikitError(
                f"average_keep is {average_keep}: the share of the running average that stays at a step.\n"
                "0 turns the average off; 0.999 is usual for long runs."
            )
        self.automatic_optimization = False
        self.detokenizer, self.optim, self.units = detokenizer, optim, units
        self.discriminator = detokenizer.make_discriminator()
        self.average = copy.deepcopy(detokenizer).requires_grad_(False) if average_keep else None
        self.start, self.seed, self.average_keep = start, seed, average_keep
        self.style_weight = style_weight
        style_dim = getattr(detokenizer, "style_dim", 0)
        self.readers = StyleReaders(factors, style_dim) if factors and style_weight and style_dim else None
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    @property
    def voice(self) -> Detokenizer:
        """The detokenizer as it would be shipped now."""
        return self.detokenizer if self.average is None else self.average

    def settle(self) -> None:
        """Give the detokenizer the weights that are shipped."""
        if self.average is not None:
            self.detokenizer.load_state_dict(self.average.state_dict())

    def training_step(self, batch: VoiceRecordings, index: int) -> None:
        """One step of the discriminator (once it takes part) and one of the detokenizer."""
        step, rows = int(self.step), _num_rows(batch)
        with dropout_of(self.device, self.seed, step, self.global_rank):
            voice = self.detokenizer.training_forward(self.voice_batch(batch), generator(self.seed, _TRAINING, step))
        total, parts = voice.losses.total, dict(voice.losses.parts)
        if self.readers is not None and voice.style is not None:
            named = self.readers.loss(voice.style, batch.styles) * self.style_weight
            named = of_whole_batch(Losses(named, {"style": named.detach()}), rows)
            total = total + named.total
            parts |= named.parts
        if self.discriminator is not None and step >= self.start:
            parts["discriminator"] = self._teach(self.discriminator, voice.real, voice.fake.detach(), rows)
            judged = self._judge(self.discriminator, voice.real, voice.fake, rows)
            total = total + judged.total
            parts |= judged.parts
        total = self.checked(Losses(total, parts))
        optimizers, schedules = self.optimizers(), self.lr_schedulers()
        optimizer, schedule = (each[0] if isinstance(each, list) else each for each in (optimizers, schedules))
        optimizer.zero_grad()
        self.manual_backward(total)
        optimizer.step()
        schedule.step()
        if self.average is not None:
            follow(self.average, self.detokenizer, growing_share(step, self.average_keep))
        self.step += 1

    def validation_step(self, batch: VoiceRecordings, index: int) -> None:
        """Logs the detokenizer's own losses, with the same random numbers every time."""
        draws = generator(self.seed, _VALIDATION, index)
        voice = self.voice.training_forward(self.voice_batch(batch), draws)
        size = int(sum_over_processes(torch.tensor(_num_rows(batch), device=self.device)))
        for name, loss in {"loss": voice.losses.total, **voice.losses.parts}.items():
            self.log(f"valid_{name}", loss, batch_size=size)

    def voice_batch(self, batch: VoiceRecordings) -> VoiceBatch:
        """What the detokenizer learns from a batch of the data."""
        units = Units(
            codes=batch.codes,
            lengths=batch.lengths,
            sizes=tuple(self.units.codebooks),
            rate=self.units.rate,
            vocab_id=self.units.vocab_id,
            layout=self.units.layout,
        )
        return VoiceBatch(units, batch.audio, batch.durations, batch.rows, batch.counts, batch.told)

    def _teach(self, discriminator: nn.Module, real: Tensor, fake: Tensor, rows: int) -> Tensor:
        """One step of the discriminator on waves [B, 1, S], real and generated in one pass; returns its loss.

        The losses of adversaries are means over the rows, of which `rows` count.
        """
        optimizer = self.optimizers(use_pl_optimizer=False)[1]  # Lightning would count its steps as the run's
        scores, _ = discriminator(torch.cat([real, fake]))
        own = discriminator_loss([score[: len(real)] for score in scores], [score[len(real) :] for score in scores])
        loss = of_whole_batch(Losses(own), rows).total
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.trainer.precision_plugin.optimizer_step(optimizer, model=self, closure=lambda: None)
        self.lr_schedulers()[1].step()
        return loss.detach()

    def _judge(self, discriminator: nn.Module, real: Tensor, fake: Tensor, rows: int) -> Losses:
        """What the discriminator says about generated waves [B, 1, S], as losses of the detokenizer."""
        with frozen(discriminator):
            judge = folded(discriminator).train(discriminator.training)  # both passes share the normalised weights
            with torch.no_grad():
                _, real_maps = judge(real)
            fake_scores, fake_maps = judge(fake)
        judged = {"generator": generator_loss(fake_scores), "feature": feature_loss(real_maps, fake_maps)}
        total = torch.stack(list(judged.values())).sum()
        return of_whole_batch(Losses(total, {name: loss.detach() for name, loss in judged.items()}), rows)

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """One AdamW and its schedule for the detokenizer; the same over the remaining steps for its discriminator."""
        readers = () if self.readers is None else self.readers.parameters()
        built = [self.optim.build(chain(self.detokenizer.parameters(), readers))]
        if self.discriminator is not None:
            remaining = replace(self.optim, steps=max(1, self.optim.steps - self.start))
            built.append(remaining.build(self.discriminator.parameters()))
        return [optimizer for optimizer, _ in built], [schedule for _, schedule in built]


def _num_rows(batch: VoiceRecordings) -> int:
    return len(batch.lengths) if batch.counts else 0
