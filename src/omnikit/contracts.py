"""What a component needs and what it gives, stated before any weight exists.

A contract is computed from constructor parameters alone. A parameter whose default is `DERIVED` is chosen by nobody:
the wire that ends in a port carrying it says what it is. A port field is a plain value ("exactly this"), `None`
("anything"), `OneOf` ("any of these") or `Free` ("whatever the other end says; it becomes my parameter").
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

from omnikit.errors import unknown_name

DERIVED: Any = "derived"
"""Default of a constructor parameter that negotiation fills in from the other end of a wire."""


@dataclass(frozen=True)
class Free:
    """A port field that follows the constructor parameter `param`, which is still to be derived."""

    param: str


@dataclass(frozen=True)
class OneOf:
    """A port field that accepts any of `values`."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Port:
    """One end of a wire. Subclasses list the facts on which both ends must agree."""

    def facts(self) -> Iterator[tuple[str, Any]]:
        """Every field of the port with its value."""
        for item in fields(self):
            yield item.name, getattr(self, item.name)

    def __str__(self) -> str:
        said = [f"{name}={show(value)}" for name, value in self.facts() if value is not None]
        return f"{type(self).__name__.removesuffix('Port').lower()}({', '.join(said)})"


@dataclass(frozen=True)
class AudioPort(Port):
    """Mono waveforms at `sample_rate` Hz."""

    sample_rate: Any = None


@dataclass(frozen=True)
class ImagePort(Port):
    """RGB pictures of `size`: a side in pixels, a `PaddedSquare`, slices (`AnyRes`), or own sizes (`NativeSize`)."""

    size: Any = None


@dataclass(frozen=True)
class FramesPort(Port):
    """Features of width `dim`; `rate` in Hz, or `length` positions where there is no clock (image patches)."""

    dim: Any = None
    rate: Any = None
    length: Any = None


@dataclass(frozen=True)
class UnitsPort(Port):
    """Discrete speech: `codebooks` sizes, frame `rate` in Hz, `layout` frame/reduced, `vocab_id` of the meaning."""

    codebooks: Any = None
    rate: Any = None
    layout: Any = None
    vocab_id: Any = None


@dataclass(frozen=True)
class StylePort(Port):
    """A style as `view` (none, labels, vector, text, audio); a vector has `dim` numbers in the space `space_id`."""

    view: Any = None
    dim: Any = None
    space_id: Any = None


@dataclass(frozen=True)
class LabelsPort(Port):
    """Style labels: a value for every one of `factors`, in their order."""

    factors: Any = None


@dataclass(frozen=True)
class MelPort(Port):
    """A mel spectrogram, pinned by everything a vocoder is bound to."""

    sample_rate: Any = None
    fft_size: Any = None
    hop_size: Any = None
    window_size: Any = None
    num_mels: Any = None
    min_hz: Any = None
    max_hz: Any = None
    norm: Any = None


@dataclass(frozen=True)
class TextPort(Port):
    """Plain text."""


@dataclass(frozen=True)
class Contract:
    """Ports by name and the static facts of a component.

    `ignores` names ports that do not apply to it (a codec decoder that takes no style, an input style that is text): a
    wire that ends there, or begins there, is reported as "not applicable" instead of as a misfit. `causal` and
    `lookahead_ms` describe streaming.
    """

    needs: Mapping[str, Port] = field(default_factory=dict)
    gives: Mapping[str, Port] = field(default_factory=dict)
    ignores: frozenset[str] = frozenset()
    causal: bool = False
    lookahead_ms: float | None = None


def signature_of(cls: type) -> dict[str, inspect.Parameter]:
    """Constructor parameters of a component class by name (without self)."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    return {item.name: item for item in parameters if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)}


def bind_parameters(component_id: str, cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The full parameters of `cls`: what was given over the signature's defaults.

    Raises `UnknownName` for a parameter that the constructor lacks.
    """
    known = signature_of(cls)
    for name in given:
        if name not in known:
            raise unknown_name(f"parameter of {component_id}", name, known)
    defaults = {name: item.default for name, item in known.items() if item.default is not inspect.Parameter.empty}
    return {**defaults, **given}


def contract_of(cls: type, parameters: Mapping[str, Any]) -> Contract:
    """The contract of `cls` for full `parameters`, in which underived ones stand as `Free`."""
    free = {
        name: Free(name) if isinstance(value, str) and value == DERIVED else value for name, value in parameters.items()
    }
    make: Callable[..., Contract] = cls.contract  # type: ignore[attr-defined]
    return make(**free)


def show(value: Any) -> str:
    """A port value as people write it."""
    if isinstance(value, Free):
        return f"<{value.param}>"
    if isinstance(value, OneOf):
        return "|".join(show(item) for item in value.values)
    if isinstance(value, Fraction):
        return str(value.numerator) if value.denominator == 1 else f"{float(value):.4g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(show(item) for item in value) + "]"
    return str(value)
