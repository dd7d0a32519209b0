"""What a conformance case is: a function that takes a `Subject` and raises where a promise is not kept."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from omnikit.contracts import (
    DERIVED,
    AudioPort,
    Contract,
    FramesPort,
    Free,
    ImagePort,
    OneOf,
    Port,
    StylePort,
    UnitsPort,
    bind_parameters,
    contract_of,
    signature_of,
)
from omnikit.errors import OmnikitError
from omnikit.registry import resolve
from omnikit.slots.base import Component

Outcome = Literal["passed", "failed", "not applicable"]

MAX_ERROR_LINES = 8
_SEED = 0


class Broken(AssertionError):
    """A promise of the slot that the component does not keep."""


class NotApplicable(Exception):
    """The case asks for what this component does not have; the message says what."""


@dataclass(frozen=True)
class Suite:
    """What a slot promises: its class, its ports by name and kind, one inference, and the cases of its own.

    `outputs` runs every method of the slot that infers, on fixed inputs, and gives what came out; common cases hold it
    against itself (saved and loaded, twice, with the global random state watched).
    """

    base: type[Component]
    needs: Mapping[str, type[Port]]
    gives: Mapping[str, type[Port]]
    outputs: Callable[[Subject, Any], Any]
    cases: tuple[Callable[[Subject], None], ...]


@dataclass(frozen=True)
class Case:
    """One promise: its `name`, what it says in one line, and the function that holds a component to it."""

    name: str
    promise: str
    hold: Callable[[Subject], None]

    @classmethod
    def of(cls, hold: Callable[[Subject], None]) -> Case:
        """The case that a function with a docstring is."""
        return cls(hold.__name__, (hold.__doc__ or "").strip().splitlines()[0], hold)

    def run(self, subject: Subject) -> Result:
        """Hold `subject` to the promise; whatever it raises becomes the result."""
        try:
            self.hold(subject)
        except NotApplicable as reason:
            return Result(subject.component_id, self.name, self.promise, "not applicable", str(reason))
        except Broken as broken:
            return Result(subject.component_id, self.name, self.promise, "failed", str(broken))
        except Exception as error:
            return Result(subject.component_id, self.name, self.promise, "failed", _unexpected(error))
        return Result(subject.component_id, self.name, self.promise, "passed")


@dataclass(frozen=True)
class Result:
    """What came of one case; `detail` says what was found and what was expected."""

    component: str
    case: str
    promise: str
    outcome: Outcome
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether the component breaks the promise."""
        return self.outcome == "failed"

    def __str__(self) -> str:
        return f"{self.component} {self.case}: {self.outcome}" + (
            f"\n  {self.promise}\n  {self.detail}" if self.detail else ""
        )


def _unexpected(error: Exception) -> str:
    """What a case met that it does not ask for, and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if Path(frame.filename).parent != Path(__file__).parent]
    place = (outside or frames)[-1]
    found = f"{type(error).__name__}: {error}"
    return (
        f"{found}\nIt came from {Path(place.filename).name}, line {place.lineno}; this input must not raise anything."
    )


@dataclass(frozen=True)
class Subject:
    """A component under test: its id, its full parameters (derived ones have stand-ins), and the suite of its slot."""

    component_id: str
    parameters: Mapping[str, Any]
    suite: Suite

    @classmethod
    def of(cls, component_id: str, suite: Suite, given: Mapping[str, Any]) -> Subject:
        """The subject with stand-ins for parameters that a system would derive and that `given` leaves open."""
        return cls(component_id, _with_stand_ins(component_id, given), suite)

    @property
    def cls(self) -> type[Component]:
        """The component's class."""
        return resolve(self.component_id)

    @cached_property
    def contract(self) -> Contract:
        """Its contract for these parameters."""
        return contract_of(self.cls, self.parameters)

    @cached_property
    def component(self) -> Any:
        """One instance in evaluation mode, shared by the cases that only infer."""
        return self.make()

    def make(self) -> Any:
        """A new instance in evaluation mode, with the same weights every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            return self.cls(**self.parameters).eval()

    def outputs(self, component: Any) -> Any:
        """What an instance infers from the fixed inputs of the slot."""
        with torch.no_grad():
            return self.suite.outputs(self, component)


_ONE_BOOK, _TWO_BOOKS = (16,), (16, 16)
"""Codebooks of parts that are not told theirs; two where the contract refuses one."""
_STAND_INS: dict[tuple[type[Port], str], Any] = {
    (AudioPort, "sample_rate"): 16_000,
    (UnitsPort, "codebooks"): _ONE_BOOK,
    (UnitsPort, "rate"): Fraction(25),
    (UnitsPort, "layout"): "frame",
    (UnitsPort, "vocab_id"): "conformance",
    (StylePort, "dim"): 4,
    (StylePort, "space_id"): "conformance",
    (FramesPort, "length"): 16,
    (ImagePort, "size"): 32,
}
_WIDTH_IN, _WIDTH_OUT = 8, 12


def _with_stand_ins(component_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Full parameters. Raises `OmnikitError` naming a parameter that neither the caller nor a port says."""
    cls = resolve(component_id)
    bound = bind_parameters(component_id, cls, given)
    full = {name: bound.get(name, DERIVED) for name in signature_of(cls)}
    contract = contract_of(cls, full)
    for ports, width in ((contract.needs, _WIDTH_IN), (contract.gives, _WIDTH_OUT)):
        for port in ports.values():
            for fact, value in port.facts():
                if isinstance(value, Free) and full[value.param] == DERIVED:
                    is_width = isinstance(port, FramesPort) and fact == "dim"
                    full[value.param] = width if is_width else _STAND_INS.get((type(port), fact), DERIVED)
    still_open = [name for name, value in full.items() if isinstance(value, str) and value == DERIVED]
    if still_open:
        raise OmnikitError(
            f"Conformance of {component_id} needs {', '.join(still_open)}.\n"
            f"Give small values: check('{component_id}', {still_open[0]}=…)."
        )
    try:
        contract_of(cls, full)
    except OmnikitError:
        return {name: _TWO_BOOKS if value is _ONE_BOOK else value for name, value in full.items()}
    return full


def first_of(value: Any) -> Any:
    """A value that a port field accepts."""
    return value.values[0] if isinstance(value, OneOf) else value


def expect(kept: bool, otherwise: str) -> None:
    """Raise `Broken` with `otherwise` unless `kept`."""
    if not kept:
        raise Broken(otherwise)


@contextmanager
def refused(what: str) -> Iterator[None]:
    """What is inside must raise an `OmnikitError` of at most eight lines."""
    try:
        yield
    except OmnikitError as error:
        lines = str(error).splitlines()
        expect(1 <= len(lines) <= MAX_ERROR_LINES, f"the error for {what} has {len(lines)} lines; at most 8 are read.")
    except Exception as error:
        raise Broken(
            f"{what} raises {type(error).__name__} ({error}); raise an OmnikitError that says what is accepted."
        ) from error
    else:
        raise Broken(f"{what} is accepted; it must raise a subclass of OmnikitError that says what is accepted.")


def difference(one: Any, other: Any, tolerance: float = 0.0, path: str = "output") -> str | None:
    """Where two results first differ by more than `tolerance`, None where they are the same."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"{path}: {list(one.shape)} {one.dtype} and {list(other.shape)} {other.dtype}"
        if one.is_floating_point() and tolerance:
            apart = float((one.cpu() - other.cpu()).abs().max()) if one.numel() else 0.0
            return None if apart <= tolerance else f"{path}: up to {apart:.3g} apart"
        return None if torch.equal(one.cpu(), other.cpu()) else f"{path}: other values"
    if is_dataclass(one) and type(one) is type(other):
        pairs = [(item.name, getattr(one, item.name), getattr(other, item.name)) for item in fields(one)]
    elif isinstance(one, Mapping) and isinstance(other, Mapping) and set(one) == set(other):
        pairs = [(str(key), value, other[key]) for key, value in one.items()]
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = [(str(place), *pair) for place, pair in enumerate(zip(one, other, strict=True))]
    else:
        return None if type(one) is type(other) and one == other else f"{path}: {one!r:.80} and {other!r:.80}"
    found = (difference(left, right, tolerance, f"{path}.{name}") for name, left, right in pairs)
    return next((item for item in found if item), None)


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Every tensor in a result."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            yield from tensors_of(getattr(value, item.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)


def expect_same(one: Any, other: Any, otherwise: str, tolerance: float = 0.0) -> None:
    """Raise `Broken` where two results differ; the message ends in the place."""
    apart = difference(one, other, tolerance)
    expect(apart is None, f"{otherwise}: {apart}")


def expect_gradient(component: nn.Module, total: Tensor) -> None:
    """`total` is a finite scalar whose gradient is finite and reaches every direct part that has trainable weights."""
    expect(total.dim() == 0 and bool(total.isfinite()), f"the loss is {total.detach()}; a finite scalar is expected.")
    expect(total.requires_grad, "the loss is not differentiable: it has no graph.")
    component.zero_grad(set_to_none=True)
    total.backward()
    whole: Sequence[tuple[str, nn.Module]] = [("itself", component)]
    for name, part in (*component.named_children(), *whole):
        weights = [weight for weight in part.parameters(recurse=name != "itself") if weight.requires_grad]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        expect(
            all(bool(item.isfinite().all()) for item in gradients), f"part {name} gets a gradient that is not finite."
        )
        reached = any(bool(item.any()) for item in gradients)
        expect(reached or not weights, f"no gradient reaches the trainable weights of part {name}.")
