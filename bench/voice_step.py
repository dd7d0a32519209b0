"""A training step of the voice, ours beside the plain way: `python bench/voice_step.py [--batch 4] [--rounds 3]`.

The published sizes (generator 41.9 M parameters, discriminators 46.7 M) with random weights on random units and noise,
all steps on the same batch and with the same weights, as the learning rate is 0. The plain way is that of the published
code: signals lie channel by channel; real and generated waves are judged one after the other, folded by a period into
columns for two-dimensional convolutions; the discriminator and what it says of real waves take gradients in the
generator's step too; AdamW is torch's own choice. Each way trains in a process of its own, in memory of its own; they
take turns. Prints ratios and how far the losses and the gradients of one step lie apart. Exits with 1 where they differ
or a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from fractions import Fraction
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from timing import CLOCKS, Clock, Turns, machine
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
SLOPE_TOLERANCE = 1e-3
"""Where rounding turns the sign of a value near zero, its slope leaps; tests compare gradients in float64."""
WARMUPS = 2
"""Steps until a process has all the memory that it needs."""
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

    def training_step(self, batch: VoiceRecordings, index: int) -> None:
        with patch("omnikit.nn.hifigan.time_major", lambda x: x):
            super().training_step(batch, index)

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


def made(name: str, num_rows: int) -> tuple[Alone, Callable[[], None]]:
    """A way of training, and a step of it."""
    voice, batch = material(num_rows)
    port, optim = UnitsPort(rate=Fraction(25), **UNITS), Optim(lr=0.0, steps=1000)
    stage = (Plain if name == "plain" else Alone)(voice, optim, units=port).start_run()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "bfloat16"):
            stage.training_step(batch, 0)

    return stage, step


def serve(name: str, num_rows: int, threads: int, clock: Clock, line: Connection) -> None:
    """Take a step and tell its seconds whenever asked to."""
    torch.set_num_threads(threads)
    _, step = made(name, num_rows)
    while line.recv():
        start = CLOCKS[clock]()
        step()
        line.send(CLOCKS[clock]() - start)


def differences(num_rows: int) -> tuple[float, float, list[str]]:
    """How far losses and gradients of one step lie apart, and the losses' names."""
    stages = []
    for name in ("plain", "float32"):  # both take step 0: the same random numbers
        stage, step = made(name, num_rows)
        step()
        stages.append(stage)
    told = [stage.told for stage in stages]
    apart = max(abs(told[0][name] - told[1][name]) / max(1.0, abs(told[0][name])) for name in told[0])
    slopes = [[weight.grad for weight in stage.detokenizer.parameters() if weight.grad is not None] for stage in stages]
    least = NO_SLOPE * torch.stack([a.norm() for a in slopes[0]]).norm()
    slope = max(float((a - b).norm() / a.norm().clamp(min=least)) for a, b in zip(*slopes, strict=True))
    return apart, slope, list(told[0])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=list(CLOCKS), default="process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.batch} rows, {args.clock} time, {args.rounds} rounds\n{machine()}")
    apart, slope, losses = differences(args.batch)
    print(f"losses of one step within {apart:.1e}: {', '.join(losses)}")
    print(f"gradients of every weight of the generator within {slope:.1e} of their length")
    lines = {}
    for name in ("plain", *GOALS):
        lines[name], theirs = Pipe()
        given = (name, args.batch, args.threads, args.clock, theirs)
        get_context("spawn").Process(target=serve, args=given, daemon=True).start()
    seconds: dict[str, list[float]] = {name: [] for name in lines}
    for number in range(-WARMUPS, args.rounds):
        for name in list(lines) if number % 2 == 0 else reversed(lines):
            lines[name].send(True)
            taken = lines[name].recv()
            if number >= 0:
                seconds[name].append(taken)
    for line in lines.values():
        line.send(False)
    met = apart < TOLERANCE and slope < SLOPE_TOLERANCE
    for name, goal in GOALS.items():
        reached = Turns(seconds).ratio("plain", name)
        met = met and reached.median >= goal
        verdict = "reached" if reached.median >= goal else "missed"
        print(f"{name:<9} ours over plain float32 {reached}   goal {goal}× {verdict}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
