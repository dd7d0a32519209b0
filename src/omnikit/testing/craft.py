"""Promises of every component about how it is made: its papers, its package, its source, and how it runs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omnikit.artefacts import CARD, read_card
from omnikit.registry import entries
from omnikit.testing.kit import NotApplicable, Subject, expect, expect_same, tensors_of
from omnikit.testing.unsafe_code import unsafe_code

_NUM_THREADS = 4
_THREADS_ALIKE = 1e-4
_COMPILED_ALIKE = 1e-3
_IMPORT_S = 1.0
_LICENCE_FILES = ("LICENSE*", "LICENCE*", "COPYING*")
_IMPORT = """\
import sys, time
start = time.process_time()
import {package}
print(time.process_time() - start, *(name for name in ("torch", "transformers", "hydra") if name in sys.modules))
"""


def says_its_contract_and_its_source(subject: Subject) -> None:
    """The docstring has a line `Contract:` (what goes in and out) and a line `Ref:` (paper, equation, or origin)."""
    lines = [line.strip() for line in (inspect.getdoc(subject.cls) or "").splitlines()]
    name = subject.cls.__name__
    expect(
        any(line.startswith("Contract:") for line in lines),
        f"the docstring of {name} has no line 'Contract:'; say what goes in and out, e.g. 'Contract: 16 kHz mono → …'.",
    )
    if subject.component_id.endswith("/none"):
        return
    expect(
        any(line.startswith("Ref:") for line in lines),
        f"the docstring of {name} has no line 'Ref:'; name the paper and equation, or write 'Ref: none, …' and why.",
    )


def its_signature_is_its_schema(subject: Subject) -> None:
    """Constructor parameters are named and annotated, and the contract takes no others: the config is made of them."""
    cls = subject.cls
    has_own = cls.__init__ is not nn.Module.__init__
    known = list(inspect.signature(cls.__init__).parameters.values())[1:] if has_own else []
    for item in known:
        loose = item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
        expect(not loose, f"the constructor takes {item}; name every parameter, so that configs and errors know it.")
        bare = item.annotation is inspect.Parameter.empty
        expect(not bare, f"parameter {item.name} has no type; annotate it, configs and documentation show it.")
    asked = inspect.signature(cls.contract).parameters.values()
    names = {item.name for item in known}
    other = [item.name for item in asked if item.kind is item.POSITIONAL_OR_KEYWORD and item.name not in names]
    expect(not other, f"contract() takes {', '.join(other)}, which the constructor lacks; give both the same names.")


def its_licence_is_declared(subject: Subject) -> None:
    """The distribution declares a licence, and every trained part inside it has one."""
    distribution = _distribution(subject)
    fields = metadata.metadata(distribution)
    said = [fields[name] for name in ("License-Expression", "License") if name in fields]
    said += [item for item in fields.get_all("Classifier") or [] if item.startswith("License ::")]
    expect(
        any(said), f'{distribution} declares no licence; write `license = "Apache-2.0"` (or yours) in pyproject.toml.'
    )
    bare = _unlicensed_weights(_package(subject))
    expect(
        not bare,
        f"{', '.join(bare[:3])} ships weights without a licence; write 'licence' into its card's provenance, "
        f"or put a LICENSE file beside the weights.",
    )


def its_package_is_light(subject: Subject) -> None:
    """Importing the package imports no torch and takes less than a second: it is listed far more often than used."""
    _distribution(subject)
    package = _package(subject)
    seconds, heavy = _cost_of_import(package)
    expect(
        not heavy,
        f"`import {package}` imports {', '.join(heavy)}; import in the component's module, not in the package.",
    )
    expect(seconds < _IMPORT_S, f"`import {package}` takes {seconds:.1f} s of processor time; leave __init__.py empty.")


def runs_no_code_from_files(subject: Subject) -> None:
    """Its source reads no pickle, runs no remote code and builds nothing from a `_target_`."""
    module = sys.modules[subject.cls.__module__]
    path = getattr(module, "__file__", None)
    if path is None or not Path(path).is_file():
        raise NotApplicable("its source is no file")
    found = list(unsafe_code(ast.parse(Path(path).read_text(encoding="utf-8")), may_load_weights=False))
    names = ", ".join(f"{name} (line {line})" for line, name in found[:3])
    expect(
        not found,
        f"{Path(path).name} uses {names}; keep weights in safetensors, settings in JSON, and read both as data.",
    )


def threads_do_not_disturb_each_other(subject: Subject) -> None:
    """Four threads that share an instance get what one gets alone: nothing of a call is kept on the instance."""
    component = subject.component
    alone = subject.outputs(component)
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        together = list(pool.map(subject.outputs, [component] * _NUM_THREADS))
    for found in together:
        otherwise = "a thread beside others gets something else; keep what belongs to a call in variables"
        expect_same(alone, found, otherwise, _THREADS_ALIKE)


def runs_under_bfloat16(subject: Subject) -> None:
    """Under bfloat16 autocast its outputs are as many, and finite; what needs float32 says so itself."""
    component = subject.component
    whole = [tensor.dim() for tensor in tensors_of(subject.outputs(component))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = list(tensors_of(subject.outputs(component)))
    expect([tensor.dim() for tensor in half] == whole, "under bfloat16 the outputs are of other kinds.")
    expect(
        all(bool(tensor.isfinite().all()) for tensor in half),
        "under bfloat16 the outputs hold NaN or infinity; compute that part in float32.",
    )


def compiles(subject: Subject) -> None:
    """With its parts traced by `torch.compile` it gives what it gave before; no compiler is needed for that."""
    component = subject.make()
    parts = [part for part in component.children() if any(True for _ in part.parameters())]
    if not parts:
        raise NotApplicable("it has no part with weights")
    plain = subject.outputs(component)
    torch.compiler.reset()
    try:
        for part in parts:
            part.compile(backend="eager")
        traced = subject.outputs(component)
    finally:
        torch.compiler.reset()
    expect_same(
        plain, traced, "torch.compile changes what it computes; leave Python state out of forward", _COMPILED_ALIKE
    )


def _distribution(subject: Subject) -> str:
    """The distribution that brings a component."""
    point = entries().get(subject.component_id)
    if point is None:
        raise NotApplicable("it is registered in this process; no distribution brings it")
    return point.distribution


def _package(subject: Subject) -> str:
    return subject.cls.__module__.partition(".")[0]


@lru_cache
def _cost_of_import(package: str) -> tuple[float, tuple[str, ...]]:
    """Processor seconds, and the heavy packages, of importing a package in a process of its own."""
    start = f"import sys\nsys.path[:0] = {sys.path!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", start + _IMPORT.format(package=package)], capture_output=True, text=True
    )
    last = (done.stderr.strip().splitlines() or [""])[-1]
    expect(done.returncode == 0, f"`import {package}` fails in a process of its own: {last}")
    seconds, *heavy = done.stdout.split()
    return float(seconds), tuple(heavy)


@lru_cache
def _unlicensed_weights(package: str) -> list[str]:
    """The trained parts inside a package of which nobody says under which terms they come."""
    spec = find_spec(package)
    found = []
    for location in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(location)
        for card in sorted(root.rglob(CARD)):
            above = [folder for folder in card.parents if folder.is_relative_to(root)]
            said: Any = read_card(card.parent).get("provenance", {})
            has_file = any(any(folder.glob(pattern)) for folder in above for pattern in _LICENCE_FILES)
            if not has_file and not {"licence", "license"} & set(said):
                found.append(str(card.parent.relative_to(root)))
    return found


CASES = (
    says_its_contract_and_its_source,
    its_signature_is_its_schema,
    its_licence_is_declared,
    its_package_is_light,
    runs_no_code_from_files,
    threads_do_not_disturb_each_other,
    runs_under_bfloat16,
    compiles,
)
