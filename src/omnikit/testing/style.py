"""Promises of the slot `style`.

Letters: B batch, N examples, D style width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omnikit.artefacts import load_component, save_component
from omnikit.contracts import AudioPort, StylePort, contract_of
from omnikit.errors import OmnikitError, UnknownName
from omnikit.slots.style import LearnedStyle, StyleModule
from omnikit.testing.kit import (
    Broken,
    NotApplicable,
    Subject,
    Suite,
    expect,
    expect_gradient,
    expect_same,
    first_of,
    refused,
)
from omnikit.testing.material import draws, on, row, sounds
from omnikit.types import Audio, Labels, Style

_SPACE = "conformance-fit"
_ALIKE = 1e-5
_TEXTS = ("a slow sad man", "a happy woman in a hurry, in a high voice")


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
    rows = _rows(module)[1:] or [{}]
    vectors = torch.randn(len(rows), _dim(subject), generator=draws())
    return torch.cat([vectors, 3 * vectors]), rows + rows


def _recordings(subject: Subject, num_samples: tuple[int, ...] = (32_000, 20_000)) -> Audio:
    port: Any = subject.contract.needs.get("audio")
    expect(
        isinstance(port, AudioPort), "it takes recordings, and its contract needs no port 'audio' that says their rate."
    )
    return sounds(num_samples, int(first_of(port.sample_rate)))


def outputs(subject: Subject, module: StyleModule) -> Any:
    """Styles of every value, of recordings, and drawn at random."""
    found = [module.from_labels(_rows(module))]
    if "audio" in module.views:
        found.append(module.from_audio(on(_recordings(subject), module.device)))
    if "draw" in module.views:
        found.append(module.draw(3, draws()))
    return found


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
    _expect_vectors(subject, style, len(rows))


def _expect_vectors(subject: Subject, style: Style, num_rows: int) -> None:
    port: Any = subject.contract.gives["style"]
    expect(style.vector is not None, "the contract says vector, the style has none.")
    assert style.vector is not None
    expect(list(style.vector.shape) == [num_rows, port.dim], f"vectors {list(style.vector.shape)}, dim {port.dim}.")
    expect(style.space_id == port.space_id, f"space '{style.space_id}', the contract says '{port.space_id}'.")
    expect(not style.vector.requires_grad, "a style carries a graph.")


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


def numbers_lie_on_scales(subject: Subject) -> None:
    """A number is accepted on its factor's scale alone: at a name's place it is that name; none beyond the ends."""
    module: StyleModule = subject.component
    if not module.scales:
        raise NotApplicable("no factor of it has a scale")
    for name, places in module.scales.items():
        expect(set(places) <= set(module.factors[name]), f"the scale of '{name}' places values that do not exist.")
        at_names: list[Labels] = [{name: place} for place in places.values()]
        numbers, names = module.from_labels(at_names), module.from_labels([{name: value} for value in places])
        expect_same(numbers, names, f"numbers at the places of names are other styles than the names of '{name}'")
        low, high = min(places.values()), max(places.values())
        between = 0.75 * low + 0.25 * high
        expect_same(
            module.from_labels([{name: between}]),
            module.from_labels([{name: str(between)}]),
            f"{name}={between} as a number and as text are different styles",
        )
        for wrong in (low - 1, high + 1, float("nan")):
            with refused(f"{name}={wrong}, which is not on its scale"):
                module.from_labels([{name: wrong}])
    for name in set(module.factors) - set(module.scales):
        with refused(f"a number for '{name}', which has no scale"):
            module.from_labels([{name: 0.123}])


def takes_what_it_says(subject: Subject) -> None:
    """It makes styles from what `views` names, and refuses the rest with an error that says what it takes."""
    module = subject.component
    ways = {
        "audio": lambda: module.from_audio(sounds((32_000,), 16_000)),
        "text": lambda: module.from_text(list(_TEXTS)),
        "draw": lambda: module.draw(2, draws()),
    }
    expect(module.views <= set(ways), f"views {sorted(module.views)}; known are {', '.join(ways)}.")
    for view, make in ways.items():
        if view in module.views:
            continue
        with refused(f"a style from {view}"):
            make()
        try:
            make()
        except OmnikitError as error:
            missing = [taken for taken in ("labels", *module.views) if taken not in str(error)]
            expect(not missing, f"the error for {view} does not say that it takes {', '.join(missing)}.")


def hears_recordings(subject: Subject) -> None:
    """Recordings give vectors of the space, in a batch as alone, whatever lies behind their ends."""
    if "audio" not in subject.component.views:
        raise NotApplicable("it takes no recordings")
    audio = _recordings(subject)
    style = subject.component.from_audio(audio)
    _expect_vectors(subject, style, 2)
    noise = torch.randn(audio.wave.shape, generator=draws())
    beyond = torch.arange(audio.wave.shape[1]) >= audio.lengths[:, None]
    dirty = replace(audio, wave=torch.where(beyond, noise, audio.wave))
    expect_same(style.vector, subject.component.from_audio(dirty).vector, "padding is heard", _ALIKE)
    for index, length in enumerate(audio.lengths.tolist()):
        alone = subject.component.from_audio(row(audio, index, length)).vector
        expect_same(style.vector[index : index + 1], alone, f"recording {index} has another vector in a batch", _ALIKE)
    expect(not torch.allclose(*style.vector), "two unlike recordings have one style.")


def refuses_bad_recordings(subject: Subject) -> None:
    """Silence, NaN, one sample, and another sample rate are refused with a clear error."""
    if "audio" not in subject.component.views:
        raise NotApplicable("it takes no recordings")
    audio = _recordings(subject)
    wrong = {
        "silence": replace(audio, wave=torch.zeros_like(audio.wave)),
        "a recording that holds NaN": replace(audio, wave=audio.wave.index_fill(1, torch.tensor([7]), torch.nan)),
        "a recording of one sample": _recordings(subject, (1,)),
        "a recording at another rate": replace(audio, sample_rate=audio.sample_rate + 1),
    }
    for what, given in wrong.items():
        with refused(what):
            subject.component.from_audio(given)


def draws_by_its_generator(subject: Subject) -> None:
    """The same generator state draws the same styles, another one others, and all are of the space."""
    if "draw" not in subject.component.views:
        raise NotApplicable("it draws no styles")
    first = subject.component.draw(4, draws(1))
    _expect_vectors(subject, first, 4)
    expect_same(first, subject.component.draw(4, draws(1)), "the same generator state draws other styles")
    other = subject.component.draw(4, draws(2))
    expect(not torch.allclose(first.vector, other.vector), "another generator state draws the same styles.")


def gives_back_what_it_was_fitted_on(subject: Subject) -> None:
    """After `fit`, the space is the one that was fitted, in the contract too; a table gives the mean of examples."""
    module = subject.make()
    vectors, labels = _examples(subject, module)
    # A full combination of labels stands behind each row; defaults repeat, so that only distinct ones are compared.
    full = [tuple(sorted(row.items())) for row in module.from_labels(labels).labels]
    module.fit(vectors, labels, _SPACE)
    style = module.from_labels(labels)
    for combination in set(full) if not isinstance(module, LearnedStyle) else ():
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
    """Vectors of another width, NaN, or of another number than labels, are refused with a clear error."""
    module = subject.make()
    vectors, labels = _examples(subject, module)
    with refused("example vectors of another width"):
        module.fit(vectors[:, :-1], labels, _SPACE)
    with refused("example vectors that hold NaN"):
        module.fit(vectors.index_fill(1, torch.tensor([0]), torch.nan), labels, _SPACE)
    with refused("fewer labels than example vectors"):
        module.fit(vectors, labels[:-1], _SPACE)
    with refused("no examples"):
        module.fit(vectors[:0], [], _SPACE)


def learns_from_examples(subject: Subject) -> None:
    """Where it learns by gradient: the loss is finite, repeats, and its gradient reaches every part."""
    module = subject.make()
    if not isinstance(module, LearnedStyle):
        raise NotApplicable("it learns nothing by gradient")
    vectors, labels = _examples(subject, module)
    texts = [_TEXTS[index % len(_TEXTS)] for index in range(len(labels))]
    module.fit(vectors, labels, _SPACE)
    module.train()
    first = module.loss(vectors, labels, texts, draws())
    expect(all(not part.requires_grad for part in first.parts.values()), "parts of the loss must be detached.")
    again = module.loss(vectors, labels, texts, draws())
    expect_same(first.total.detach(), again.total.detach(), "the same generator gives another loss")
    expect_gradient(module, first.total)


SUITE = Suite(
    base=StyleModule,
    needs={},
    gives={"style": StylePort},
    outputs=outputs,
    cases=(
        factors_are_named,
        styles_are_as_declared,
        refuses_unknown_labels,
        numbers_lie_on_scales,
        takes_what_it_says,
        hears_recordings,
        refuses_bad_recordings,
        draws_by_its_generator,
        gives_back_what_it_was_fitted_on,
        keeps_what_it_was_fitted_on,
        refuses_bad_examples,
        learns_from_examples,
    ),
)
