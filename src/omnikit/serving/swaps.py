"""What a swapped part costs: what the contracts say, which tensors are taken over, what a minute of training gives."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from omnikit.contracts import show
from omnikit.data.phones import PHONE_INDEX
from omnikit.data.speech_batches import Perturbation, SpeechBatches, phone_items
from omnikit.errors import OmnikitError
from omnikit.registry import resolve
from omnikit.serving.measure import Reading, Sound, read_all, sound_of
from omnikit.serving.piece import Piece, Record
from omnikit.slots.base import Component
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.stages.optim import Optim
from omnikit.system import System
from omnikit.types import Units
from omnikit.wiring import Node, Plan, Wire, negotiate

_TIMED_STEPS = 2
_LATE = 1.2
"""Training stops at this many times its budget, should the machine have become slower than the first steps promised."""


@dataclass(frozen=True)
class SwapReport:
    """Which tensors of a swapped component were taken over, and which start anew (with why), by name."""

    kept: tuple[str, ...]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]
    kept_numbers: int
    fresh_numbers: int

    def __str__(self) -> str:
        total = self.kept_numbers + self.fresh_numbers
        return (
            f"{len(self.kept)} tensors are taken over, {len(self.fresh)} start anew ({self.fresh_numbers:,} of "
            f"{total:,} numbers), {len(self.dropped)} of the old part have no place."
        )


@torch.no_grad()
def take_over(new: Component, old: Component) -> SwapReport:
    """Copy every parameter of `old` that `new` has under the same name and shape.

    Buffers stay those of `new`: they follow from its own constructor (the levels of a quantiser), even of equal shapes.
    """
    own, theirs = dict(new.named_parameters()), dict(old.named_parameters())
    fits = [name for name, tensor in own.items() if name in theirs and theirs[name].shape == tensor.shape]
    for name in fits:
        own[name].copy_(theirs[name])
    fresh = [name for name in own if name not in fits]
    return SwapReport(
        kept=tuple(fits),
        fresh=tuple(fresh),
        dropped=tuple(name for name in theirs if name not in fits),
        kept_numbers=sum(own[name].numel() for name in fits),
        fresh_numbers=sum(own[name].numel() for name in fresh),
    )


def refusal(nodes: Mapping[str, Node], wires: Sequence[Wire]) -> str:
    """What negotiation says against these parts; empty when they fit."""
    try:
        negotiate(nodes, wires)
    except OmnikitError as error:
        return str(error)
    return ""


def nodes_of(plan: Plan) -> dict[str, Node]:
    """A plan's parts with everything that negotiation gave them."""
    return {slot: Node(node.component, plan.parameters[slot], node.origin) for slot, node in plan.nodes.items()}


@dataclass(frozen=True)
class StyleOff:
    """The style switched off: what the contracts say, what the fix costs the detokenizer, and what is left to hear.

    `asked` is the answer to a style that cannot be chosen any more, `one_voice` the units in the trained detokenizer
    with every style at its default, `untrained` the same units where the fix is taken but nothing is trained again.
    """

    refusal: str
    fix: str
    report: SwapReport
    asked: str
    one_voice: Sound
    untrained: Sound


def switch_style_off(system: System, without: Node, units: Units, seed: int) -> StyleOff:
    """Replace the style module by `without` (a part that knows no styles)."""
    wires = [link.wire for link in system.plan.links]
    nodes = {**nodes_of(system.plan), "style": without}
    said = refusal(nodes, wires)
    detokenizer = nodes["detokenizer"]
    derived = {
        name: value for name, value in detokenizer.parameters.items() if name not in ("style_dim", "style_space")
    }
    plan = negotiate({**nodes, "detokenizer": Node(detokenizer.component, derived, detokenizer.origin)}, wires)
    changed = {
        name: value
        for name, value in plan.parameters["detokenizer"].items()
        if value is not None and value != system.plan.parameters["detokenizer"].get(name)
    }
    new = _new(detokenizer.component, plan.parameters["detokenizer"], seed)
    report = take_over(new, system.part("detokenizer"))
    styles = resolve(without.component)(**plan.parameters["style"])
    untrained = new.eval().decode(units, styles.from_labels([{}]), torch.Generator().manual_seed(seed))
    try:
        styles.from_labels([{"emotion": "sad"}])
        asked = ""
    except OmnikitError as error:
        asked = str(error)
    fix = " ".join(f"detokenizer.{name}={show(value)}" for name, value in changed.items())
    return StyleOff(said, fix, report, asked, sound_of(system.speak(units, {}, seed=seed)), sound_of(untrained))


def _new(component: str, parameters: Mapping[str, object], seed: int) -> Any:
    """A component whose new tensors are drawn from `seed`, leaving the process's random numbers alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return resolve(component)(**parameters)


@dataclass(frozen=True)
class LivePoint:
    """A check during live training: after `seconds` and `step` steps, the share of phones misread."""

    seconds: float
    step: int
    phone_error: float


@dataclass(frozen=True)
class LiveTokenizer:
    """A tokenizer variant trained while you wait, beside the shipped one, and what else it would ask for.

    `curve_reference` is the shipped tokenizer's phone error on the few utterances that `curve` is measured on.
    """

    change: Mapping[str, object]
    report: SwapReport
    before: Reading
    after: Reading
    rates: tuple[float, float]
    curve: tuple[LivePoint, ...]
    curve_reference: float
    refusal: str
    to_train: tuple[str, ...]

    def bits_per_s(self, of: Reading) -> float:
        """Nominal bit rate of the shipped (`before`) or the new (`after`) tokenizer's units."""
        return self.rates[0 if of is self.before else 1] * math.log2(of.num_units)


def train_variant(
    system: System,
    variant: Mapping[str, object],
    piece: Piece,
    *,
    optim: Mapping[str, float],
    batch_s: float,
    seconds: float,
    max_steps: int,
    num_checks: int,
    num_check_items: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> LiveTokenizer:
    """Change the tokenizer, take over what fits, train it for about `seconds`, and ask the contracts again."""
    from omnikit.artefacts import name_after_weights

    old = system.part("tokenizer")
    node = system.plan.nodes["tokenizer"]
    parameters = {**system.plan.parameters["tokenizer"], **variant, "vocab_id": "untrained"}
    new: SpeechTokenizer = _new(node.component, parameters, seed)
    report = take_over(new, old)
    checked = piece.utterances[:num_check_items]
    curve = _train(new, piece, checked, optim, batch_s, seconds, max_steps, num_checks, seed, progress)
    before, after = read_all(old, piece.folder, piece.utterances), read_all(new, piece.folder, piece.utterances)
    name_after_weights(new, "vocab_id", "live")
    parts = {**nodes_of(system.plan), "tokenizer": Node(node.component, new.parameters_given, "trained just now")}
    rates = tuple(float(part.contract(**part.parameters_given).gives["units"].rate) for part in (old, new))
    return LiveTokenizer(
        change=variant,
        report=report,
        before=before,
        after=after,
        rates=(rates[0], rates[1]),
        curve=curve,
        curve_reference=read_all(old, piece.folder, checked).phone_error.value,
        refusal=refusal(parts, [link.wire for link in system.plan.links]),
        to_train=tuple(
            slot
            for slot, parameters in system.plan.parameters.items()
            if slot != "tokenizer" and parameters.get("vocab_id") == old.vocab_id
        ),
    )


def _train(
    tokenizer: SpeechTokenizer,
    piece: Piece,
    checked: Sequence[Record],
    optim: Mapping[str, float],
    batch_s: float,
    seconds: float,
    max_steps: int,
    num_checks: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> tuple[LivePoint, ...]:
    """As many steps as fit into the time after `num_checks` checks, at most `max_steps`; the curve of phone errors."""
    batches = SpeechBatches(
        piece.folder,
        phone_items(piece.lessons, PHONE_INDEX),
        batch_s=batch_s,
        num_batches=max_steps,
        seed=seed,
        perturbation=Perturbation(speed=0.1, noise=0.02),
    )

    def check(step: int) -> LivePoint:
        error = read_all(tokenizer, piece.folder, checked).phone_error.value
        return LivePoint(time.perf_counter() - began, step, error)

    began = time.perf_counter()
    curve = [check(0)]
    checking_s = curve[0].seconds
    tokenizer.train()
    timed = time.perf_counter()
    for index in range(_TIMED_STEPS):
        _loss(tokenizer, batches, index).backward()
    step_s = (time.perf_counter() - timed) / _TIMED_STEPS
    tokenizer.zero_grad()
    steps = int((seconds - (num_checks + 1) * checking_s) / step_s)
    every = max(1, min(steps, max_steps) // num_checks)
    steps = every * num_checks
    optimizer, schedule = Optim(steps=steps, **optim).build(list(tokenizer.parameters()))
    for step in range(steps):
        optimizer.zero_grad()
        _loss(tokenizer, batches, step).backward()
        nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step + 1, steps)
        late = time.perf_counter() - began > _LATE * seconds
        if (step + 1) % every == 0 or late:
            curve.append(check(step + 1))
            tokenizer.train()
        if late:
            break
    tokenizer.eval()
    return tuple(curve)


def _loss(tokenizer: SpeechTokenizer, batches: SpeechBatches, index: int) -> torch.Tensor:
    batch = batches[index]
    return tokenizer.loss(batch.audio, batch.phones, batch.phone_lengths).total
