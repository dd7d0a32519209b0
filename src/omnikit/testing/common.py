"""Promises of every component, whatever its slot."""

from __future__ import annotations

import inspect
import json
import random
import tempfile
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from omnikit.artefacts import load_component, save_component
from omnikit.contracts import Free, contract_of, signature_of
from omnikit.errors import UnknownName
from omnikit.registry import create, describe, id_of
from omnikit.testing.kit import (
    Broken,
    NotApplicable,
    Subject,
    difference,
    expect,
    expect_same,
    tensors_of,
)

_CONTRACT_S = 0.005
_DATA_FILES = {".json", ".jinja", ".safetensors", ".txt"}


class _Watch(TorchFunctionMode):
    """Notes every torch call that makes a tensor with memory."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(tensor.device.type != "meta" for tensor in tensors_of(result)):
            self.made.append(getattr(func, "__name__", str(func)))
        return result


def is_of_its_slot(subject: Subject) -> None:
    """The class extends the slot's class, leaves nothing abstract, and is known by its id."""
    base = subject.suite.base
    expect(issubclass(subject.cls, base), f"{subject.cls.__name__} does not extend {base.__module__}.{base.__name__}.")
    left = sorted(getattr(subject.cls, "__abstractmethods__", ()))
    expect(not left, f"these methods of the slot are missing: {', '.join(left)}.")
    expect(id_of(subject.cls) == subject.component_id, f"its class is registered as {id_of(subject.cls)}.")


def says_what_it_is(subject: Subject) -> None:
    """The class and its own public methods have docstrings; the class's first line is at most 120 characters."""
    own = inspect.cleandoc(vars(subject.cls).get("__doc__") or "")
    expect(bool(own), f"{subject.cls.__name__} has no docstring.")
    expect(len(own.splitlines()[0]) <= 120, "the first line of the docstring is longer than 120 characters.")
    for name, method in vars(subject.cls).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            expect(bool(inspect.getdoc(getattr(subject.cls, name))), f"method {name} has no docstring.")


def contract_is_arithmetic(subject: Subject) -> None:
    """The contract is computed from parameters alone: no tensor is made, and it takes a moment."""
    with _Watch() as watch:
        contract_of(subject.cls, subject.parameters)
    expect(not watch.made, f"contract() makes tensors ({', '.join(watch.made[:4])}); compute numbers only.")
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        contract_of(subject.cls, subject.parameters)
        seconds.append(time.perf_counter() - start)
    expect(min(seconds) < _CONTRACT_S, f"contract() takes {1000 * min(seconds):.1f} ms; it is called many times.")


def contract_has_the_ports_of_its_slot(subject: Subject) -> None:
    """The contract has the slot's ports, of the slot's kinds, and no number is left open."""
    contract = subject.contract
    optional = subject.component_id.endswith("/none")
    for end, wanted, ports in (
        ("needs", subject.suite.needs, contract.needs),
        ("gives", subject.suite.gives, contract.gives),
    ):
        for name, kind in wanted.items():
            if name in contract.ignores or (optional and name not in ports):
                continue
            expect(name in ports, f"the contract {end} no port '{name}'; it {end}: {', '.join(ports) or 'nothing'}.")
            expect(
                type(ports[name]) is kind, f"port '{name}' is a {type(ports[name]).__name__}, not a {kind.__name__}."
            )
        for name, port in ports.items():
            loose = [fact for fact, value in port.facts() if isinstance(value, Free)]
            expect(not loose, f"port '{name}' leaves {', '.join(loose)} open although every parameter is given.")
    describe(subject.component_id)


def parameters_are_plain_data(subject: Subject) -> None:
    """Parameters are numbers, strings, lists and mappings; as JSON and back they make the same contract."""
    _expect_plain(subject.parameters, "parameters")
    back = json.loads(json.dumps(subject.parameters, default=str))
    contract = contract_of(subject.cls, {**back, **_rates(subject.parameters)})
    one, other = str(_frozen(subject.contract)), str(_frozen(contract))
    expect(one == other, f"after a JSON round trip the contract is {other:.200}, not {one:.200}.")


def remembers_its_parameters(subject: Subject) -> None:
    """An instance keeps the full parameters that it was made with."""
    kept = subject.component.parameters_given
    expect_same(dict(kept), dict(subject.parameters), "parameters_given is not what the constructor got")


def refuses_an_unknown_parameter(subject: Subject) -> None:
    """A parameter that the constructor lacks is an UnknownName that lists the known ones."""
    try:
        create(subject.component_id, **{**subject.parameters, "no_such_parameter": 1})
    except UnknownName as error:
        known = signature_of(subject.cls)
        expect(all(name in str(error) for name in known), "the error does not list the parameters that exist.")
    else:
        raise Broken("create() accepts a parameter named no_such_parameter; name every parameter, without **kwargs.")


def repeats(subject: Subject) -> None:
    """The same inputs give the same outputs, and all numbers are finite."""
    first, second = (subject.outputs(subject.component) for _ in range(2))
    otherwise = "a second run gives something else; switch dropout off in evaluation, and draw from what is given"
    expect_same(first, second, otherwise)
    expect(all(bool(item.isfinite().all()) for item in tensors_of(first)), "outputs hold NaN or infinity.")


def leaves_global_random_state_alone(subject: Subject) -> None:
    """Inference draws from the generator it is given, never from torch's, numpy's or Python's global one."""
    component = subject.component
    before = (torch.get_rng_state(), np.random.get_state(), random.getstate())
    subject.outputs(component)
    after = (torch.get_rng_state(), np.random.get_state(), random.getstate())
    for name, one, other in zip(("torch", "numpy", "random"), before, after, strict=True):
        same = torch.equal(one, other) if isinstance(one, Tensor) else str(one) == str(other)
        expect(same, f"inference draws from the global generator of {name}; draw from the one that is given.")


def inference_changes_nothing(subject: Subject) -> None:
    """Inference leaves weights, buffers and evaluation mode as they were."""
    component = subject.make()
    before = {name: tensor.clone() for name, tensor in component.state_dict().items()}
    subject.outputs(component)
    changed = [name for name, tensor in component.state_dict().items() if not torch.equal(tensor, before[name])]
    expect(not changed, f"inference changes {', '.join(changed[:4])}.")
    expect(not any(module.training for module in component.modules()), "inference leaves training mode switched on.")


def is_saved_and_loaded_whole(subject: Subject) -> None:
    """Saved and loaded, it has the same parameters, tensors and outputs, and its files are data, never pickles."""
    component = subject.make()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part"
        save_component(component, path)
        for file in sorted(item for item in path.rglob("*") if item.is_file()):
            expect(file.suffix in _DATA_FILES, f"it saves {file.name}; weights are safetensors, the rest JSON or text.")
            is_tensors = file.suffix == ".safetensors"  # of any first byte; load_component reads it as tensors alone
            expect(is_tensors or file.read_bytes()[:1] != b"\x80", f"{file.name} is a pickle; write JSON or text.")
        loaded = load_component(path)
    expect(type(loaded) is type(component), f"another class comes back: {type(loaded).__name__}.")
    expect_same(dict(component.state_dict()), dict(loaded.state_dict()), "another state comes back")
    apart = difference(subject.outputs(component), subject.outputs(loaded))
    expect(apart is None, f"it computes something else after loading: {apart}. Is a tensor missing in its state_dict?")


def moves_as_a_whole(subject: Subject) -> None:
    """Every tensor that it holds is a parameter or a buffer, so that `.to` moves and casts all of them."""
    component = subject.make()
    for place, module in component.named_modules():
        hidden = [name for name, value in vars(module).items() if isinstance(value, Tensor)]
        owner, names = place or "the component", ", ".join(hidden)
        expect(not hidden, f"{owner} holds tensors that .to() leaves behind: {names}; register them as buffers.")
    component.to(torch.float64)
    named = [*component.named_parameters(), *component.named_buffers()]
    left = [name for name, tensor in named if tensor.is_floating_point() and tensor.dtype != torch.float64]
    expect(not left, f".to(torch.float64) leaves {', '.join(left[:4])} as they were.")
    component.to("meta")
    expect(not named or component.device.type == "meta", "its `device` does not follow its tensors.")


def runs_on_an_accelerator(subject: Subject) -> None:
    """On a GPU it gives outputs of the same shapes and kinds as on the CPU."""
    if not torch.cuda.is_available():
        raise NotApplicable("there is no GPU here")
    component = subject.make()
    here = [(tensor.dim(), tensor.dtype) for tensor in tensors_of(subject.outputs(component))]
    there = list(tensors_of(subject.outputs(component.to("cuda"))))
    expect(here == [(tensor.dim(), tensor.dtype) for tensor in there], "outputs on the GPU are of other kinds.")
    expect(all(bool(tensor.isfinite().all()) for tensor in there), "outputs on the GPU hold NaN or infinity.")


def _expect_plain(value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            expect(isinstance(key, str), f"{path} has the key {key!r}; keys are strings.")
            _expect_plain(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            _expect_plain(item, f"{path}[{place}]")
    else:
        plain = value is None or isinstance(value, bool | int | float | str | Fraction)
        expect(plain, f"{path} is a {type(value).__name__}; parameters are plain data.")


def _rates(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Exact rates, which a card keeps as numbers that compare equal."""
    return {name: value for name, value in parameters.items() if isinstance(value, Fraction)}


def _frozen(value: Any) -> Any:
    """A contract as nested tuples, so that lists and tuples compare equal."""
    if hasattr(value, "facts"):
        return (type(value).__name__, *((name, _frozen(item)) for name, item in value.facts()))
    if hasattr(value, "gives"):
        return _frozen([value.needs, value.gives, sorted(value.ignores), value.causal, value.lookahead_ms])
    if isinstance(value, Mapping):
        return tuple((name, _frozen(item)) for name, item in value.items())
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


CASES = (
    is_of_its_slot,
    says_what_it_is,
    contract_is_arithmetic,
    contract_has_the_ports_of_its_slot,
    parameters_are_plain_data,
    remembers_its_parameters,
    refuses_an_unknown_parameter,
    repeats,
    leaves_global_random_state_alone,
    inference_changes_nothing,
    is_saved_and_loaded_whole,
    moves_as_a_whole,
    runs_on_an_accelerator,
)
