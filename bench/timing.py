"""Side-by-side timing: candidates take turns in one process, and only ratios of neighbouring turns are reported.

A ratio says how many times faster a candidate is than the baseline. Turns alternate in order (a b, b a, a b, …), so
that a machine that slows down or is shared hurts both alike. `process` time counts the work of all threads of this
process and is the fair clock on a shared machine; `wall` time is what a user waits for.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

CLOCKS = {"process": time.process_time, "wall": time.perf_counter}
Clock = Literal["process", "wall"]


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the baseline: the lowest, median and highest of all rounds."""

    lowest: float
    median: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Ratio:
        """The ratios of the rounds, summed up."""
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:5.2f}× (lowest {self.lowest:.2f}, highest {self.highest:.2f})"


@dataclass(frozen=True)
class Turns:
    """Seconds of every candidate in every round, in the order of the rounds."""

    seconds: Mapping[str, Sequence[float]]

    def ratio(self, baseline: str, candidate: str) -> Ratio:
        """How many times faster `candidate` is than `baseline`, compared within each round."""
        pairs = zip(self.seconds[baseline], self.seconds[candidate], strict=True)
        return Ratio.of([slow / fast for slow, fast in pairs])

    def median(self, candidate: str) -> float:
        """Median seconds of a candidate; of this machine at this moment, so never a figure to publish."""
        return statistics.median(self.seconds[candidate])


def take_turns(
    candidates: Mapping[str, Callable[[], Any]],
    rounds: int = 5,
    warmups: int = 1,
    clock: Clock = "process",
    synchronise: Callable[[], None] | None = None,
) -> Turns:
    """Run every candidate once a round, in alternating order, after `warmups` rounds that are not counted.

    `synchronise` waits for an accelerator before the clock is read.
    """
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(-warmups, rounds):
        order = list(candidates) if number % 2 == 0 else list(reversed(candidates))
        for name in order:
            if synchronise:
                synchronise()
            start = now()
            candidates[name]()
            if synchronise:
                synchronise()
            if number >= 0:
                seconds[name].append(now() - start)
    return Turns(seconds)


def machine() -> str:
    """The machine in one line: processor, threads that torch uses, versions."""
    cpu = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        lines = facts.read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{cpu}, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__}, Python {platform.python_version()}"
    )
