"""Promises of the slot `style`.

Letters: B batch, N examples, D style width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omnikit.artefacts import load_component, save_component
from omnikit.contracts import StylePort, contract_of
from omnikit.errors import UnknownName
from omnikit.slots.style import StyleModule
from omnikit.testing.kit import Broken, NotApplicable, Subject, Suite, expect, expect_same, refused
from omnikit.testing.material import draws

_SPACE = "conformance-fit"
_ALIKE = 1e-5


def _rows(module: StyleModule) -> list[dict[str, str]]:
    """The default, then every value of every factor alone."""
    return [{}, *({name: value} for name, values in module.factors.items() for value in values)]


def _dim(subject: Subject) -> int:
    port: Any = subject.contract.gives["style"]
    if port.view != "vector":
        raise NotApplicable(f"it gives a style of view '{port.view}', no vector")
    return int(port.dim)


def _examples(subject: Subject, module: StyleModule) -> tuple[Tensor, list[dict[str, str]]]:
    """Two examples of each row of `_rows`, 1 and 3 times the same vector: their mean is twice that vector."""
    rows = _rows(module)[1:]
    vectors = torch.randn(len(rows), _dim(subject), generator=draws())
    return torch.cat([vectors, 3 * vectors]), rows + rows


def outputs(subject: Subject, module: StyleModule) -> Any:
    """Styles of every value."""
    return module.from_labels(_rows(module))


def factors_are_named(subject: Subject) -> None:
    """Factors map names to distinct values; the first value of each is the default."""
    factors: Mapping[str, tuple[str, ...]] = subject.component.factors
    for name, values in factors.items():
        expect(len(values) >= 1 and len(set(values)) == len(values), f"factor '{name}' has the values {values}.")
    defaults = {name: values[0] for name, values in factors.items()}
    empty, said = subject.component.from_labels([{}]), subject.component.from_labels([defaults])
    expect_same(empty, said, "no labels and the default labels are different styles")


def styles_are_as_declared(subject: Subject) -> None:
    """One row of full labels for each asked for; where the contract says vector, one [B, D] of its space."""
    rows = _rows(subject.component)
    style = subject.component.from_labels(rows, source="model")
    expect(len(style.labels) == len(rows), f"{len(style.labels)} rows of labels for {len(rows)} that were asked for.")
    for asked, found in zip(rows, style.labels, strict=True):
        expect(asked.items() <= dict(found).items(), f"labels {asked} become {dict(found)}.")
        expect(set(found) == set(subject.component.factors), f"labels {dict(found)} do not name every factor.")
    expect(style.source == "model", f"the source 'model' becomes '{style.source}'.")
    port: Any = subject.contract.gives["style"]
    if port.view != "vector":
        expect(style.vector is None, f"a style of view '{port.view}' carries a vector.")
        return
    expect(style.vector is not None, "the contract says vector, the style has none.")
    expect(list(style.vector.shape) == [len(rows), port.dim], f"vectors {list(style.vector.shape)}, dim {port.dim}.")
    expect(style.space_id == port.space_id, f"space '{style.space_id}', the contract says '{port.space_id}'.")


def refuses_unknown_labels(subject: Subject) -> None:
    """An unknown factor, or value, is an UnknownName that lists those that exist."""
    factors = subject.component.factors
    wrong: list[tuple[dict[str, str], tuple[str, ...]]] = [({"no_such_factor": "x"}, tuple(factors))]
    wrong += [({name: "no_such_value"}, values) for name, values in factors.items()]
    for labels, exist in wrong:
        try:
            subject.component.from_labels([labels])
        except UnknownName as error:
            missing = [name for name in exist if name not in str(error)]
            expect(not missing, f"the error for {labels} does not list {', '.join(missing)}.")
        else:
            raise Broken(f"{labels} is accepted; it must be an UnknownName that lists what exists.")


def gives_back_what_it_was_fitted_on(subject: Subject) -> None:
    """After `fit`, labels give the mean vector of their examples in the space that was fitted, in the contract too."""
    module = subject.make()
    vectors, labels = _examples(subject, module)
    # A full combination of labels stands behind each row; defaults repeat, so that only distinct ones are compared.
    full = [tuple(sorted(row.items())) for row in module.from_labels(labels).labels]
    module.fit(vectors, labels, _SPACE)
    style = module.from_labels(labels)
    for combination in set(full):
        mine = [index for index, other in enumerate(full) if other == combination]
        wanted = vectors[mine].mean(0)
        expect_same(style.vector[mine[0]], wanted, f"{dict(combination)} is not the mean of its examples", _ALIKE)
    expect(style.space_id == _SPACE, f"fitted in '{_SPACE}', it gives the space '{style.space_id}'.")
    said: Any = contract_of(subject.cls, module.parameters_given).gives["style"]
    expect(said.space_id == _SPACE, f"fitted in '{_SPACE}', its contract gives the space '{said.space_id}'.")


def keeps_what_it_was_fitted_on(subject: Subject) -> None:
    """Saved and loaded after `fit`, it gives the same styles."""
    module = subject.make()
    module.fit(*_examples(subject, module), _SPACE)
    with tempfile.TemporaryDirectory() as folder:
        save_component(module, Path(folder) / "style")
        loaded = load_component(Path(folder) / "style")
    expect_same(outputs(subject, module), outputs(subject, loaded), "another style comes back from disk")


def refuses_bad_examples(subject: Subject) -> None:
    """Vectors of another width, or of another number than labels, are refused with a clear error."""
    module = subject.make()
    vectors, labels = _examples(subject, module)
    with refused("example vectors of another width"):
        module.fit(vectors[:, :-1], labels, _SPACE)
    with refused("fewer labels than example vectors"):
        module.fit(vectors, labels[:-1], _SPACE)
    with refused("no examples"):
        module.fit(vectors[:0], [], _SPACE)


SUITE = Suite(
    base=StyleModule,
    needs={},
    gives={"style": StylePort},
    outputs=outputs,
    cases=(
        factors_are_named,
        styles_are_as_declared,
        refuses_unknown_labels,
        gives_back_what_it_was_fitted_on,
        keeps_what_it_was_fitted_on,
        refuses_bad_examples,
    ),
)
