"""A training step of the voice, ours beside the plain way: `python bench/voice_step.py [--batch 4] [--rounds 3]`.

The published sizes (generator 41.9 M parameters, discriminators 46.7 M) with random weights on random units and noise,
all steps on the same batch and with the same weights, as the learning rate is 0. The plain way is that of the published
code: real and generated waves are judged one after the other, folded by a period into columns for two-dimensional
convolutions; the discriminator and what it says of real waves take gradients in the generator's step too; AdamW is
torch's own choice. Prints ratios and how far the losses and the gradients of one step lie apart. Exits with 1 where
they differ or a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import torch
from timing import machine, take_turns
from torch import Tensor, nn
from torch.nn import functional

import omnikit
from omnikit.contracts import UnitsPort
from omnikit.data.voice_batches import VoiceRecordings
from omnikit.nn.vits_losses import discriminator_loss, feature_loss, generator_loss
from omnikit.stages.detokenizer import DetokenizerStage
from omnikit.stages.optim import Optim
from omnikit.types import Audio, Losses

GOALS = {"float32": 1.25, "bfloat16": 1.55}
TOLERANCE = 1e-4
NO_SLOPE = 1e-7
"""Of the whole gradient: less is rounding, as of biases of attention's keys, which move nothing."""
UNITS: dict[str, Any] = {"codebooks": (4096,), "vocab_id": "bench", "layout": "reduced"}


class Alone(DetokenizerStage):
    """The stage without a trainer around it; `told` are the losses of its last step."""

    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(optimizer_step=lambda own, model, closure: own.step()))
    global_rank = 0

    def start_run(self) -> Alone:
        """Make its optimisers."""
        self._optimizers, self._schedules = self.configure_optimizers()
        return self

    def share_run(self, other: Alone) -> Alone:
        """Train the same discriminator as `other`."""
        self.discriminator = other.discriminator
        return self.start_run()

    def optimizers(self, use_pl_optimizer: bool = True) -> list[torch.optim.Optimizer]:
        return self._optimizers

    def lr_schedulers(self) -> list[Any]:
        return self._schedules

    def manual_backward(self, loss: Tensor) -> None:
        loss.backward()

    def checked(self, losses: Losses, prefix: str = "") -> Tensor:
        self.told = {name: float(value) for name, value in losses.parts.items()}
        return losses.total


class Plain(Alone):
    """The same step as the published code takes it."""

    def configure_optimizers(self) -> Any:
        """As the stage, by torch's own choice of AdamW."""
        optimizers, schedules = super().configure_optimizers()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["fused"] = None
        return optimizers, schedules

    def _teach(self, discriminator: nn.Module, real: Tensor, fake: Tensor, rows: int) -> Tensor:
        loss = discriminator_loss(plainly_judged(discriminator, real)[0], plainly_judged(discriminator, fake)[0])
        optimizer = self._optimizers[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def _judge(self, discriminator: nn.Module, real: Tensor, fake: Tensor, rows: int) -> Losses:
        _, real_maps = plainly_judged(discriminator, real)
        scores, fake_maps = plainly_judged(discriminator, fake)
        judged = {"generator": generator_loss(scores), "feature": feature_loss(real_maps, fake_maps)}
        return Losses(torch.stack(list(judged.values())).sum(), {name: loss.detach() for name, loss in judged.items()})


def plainly_judged(discriminator: Any, wave: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Scores and feature maps of waves [B, 1, S], periods as columns of a picture [B, C, S / p, p]."""
    scale, *periods = discriminator.discriminators
    results = [scale(wave)]
    for judge in periods:
        missing = -wave.shape[-1] % judge.period
        x = functional.pad(wave, (0, missing), mode="reflect").unflatten(-1, (-1, judge.period))
        maps = []
        for conv in judge.convs:
            x = functional.leaky_relu(conv(x), 0.1)
            maps.append(x)
        score = judge.conv_post(x)
        results.append((score.flatten(1), [*maps, score]))
    return [score for score, _ in results], [maps for _, maps in results]


def material(num_rows: int) -> tuple[Any, VoiceRecordings]:
    """The detokenizer at published size, and rows of 2.4 s of noise with 55 units."""
    torch.manual_seed(0)
    voice: Any = omnikit.create("detokenizer/uvits", style_dim=256, style_space="bench", unit_rate=25, **UNITS)
    lengths = torch.full((num_rows,), 55)
    wave = 0.1 * torch.randn(num_rows, round(2.4 * voice.sample_rate))
    audio = Audio(wave, torch.full((num_rows,), wave.shape[1]), voice.sample_rate)
    return voice.train(), VoiceRecordings(torch.randint(4096, (num_rows, 1, 55)), lengths, None, audio)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=["process", "wall"], default="process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    voice, batch = material(args.batch)
    port = UnitsPort(rate=Fraction(25), **UNITS)
    optim = Optim(lr=0.0, steps=1000)
    ours = Alone(voice, optim, units=port).start_run()
    plain = Plain(voice, optim, units=port).share_run(ours)

    def step(stage: Alone, half: bool = False) -> Callable[[], None]:
        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                stage.training_step(batch, 0)

        return run

    print(f"{args.batch} rows, {args.clock} time, {args.rounds} rounds\n{machine()}")
    candidates = {"plain": step(plain), "float32": step(ours), "bfloat16": step(ours, half=True)}
    slopes = []
    for stage in (plain, ours):  # both take step 0: the same random numbers
        step(stage)()
        slopes.append([weight.grad.clone() for weight in voice.parameters() if weight.grad is not None])
    apart = max(abs(plain.told[name] - ours.told[name]) / max(1.0, abs(plain.told[name])) for name in plain.told)
    print(f"losses of one step within {apart:.1e}: {', '.join(plain.told)}")
    least = NO_SLOPE * torch.stack([a.norm() for a in slopes[0]]).norm()
    slope = max(float((a - b).norm() / a.norm().clamp(min=least)) for a, b in zip(*slopes, strict=True))
    print(f"gradients of every weight of the generator within {slope:.1e} of their length")
    turns = take_turns(candidates, args.rounds, warmups=0, clock=args.clock)
    met = max(apart, slope) < TOLERANCE
    for name, goal in GOALS.items():
        reached = turns.ratio("plain", name)
        met = met and reached.median >= goal
        verdict = "reached" if reached.median >= goal else "missed"
        print(f"{name:<9} ours over plain float32 {reached}   goal {goal}× {verdict}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
