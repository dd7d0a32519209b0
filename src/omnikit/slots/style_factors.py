"""Style factors, typed: a factor is a choice among names, or names that lie on a scale, between which numbers lie.

A label of a scaled factor may be a number (`speed=1.1`): it stands for a mixture of the two nearest names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, product

from omnikit.errors import OmnikitError, unknown_name
from omnikit.types import Label, Labels


def parse_labels(text: str) -> dict[str, str]:
    """`emotion=sad,speed=1.1` as a mapping. Raises `OmnikitError` for anything else."""
    labels = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        factor, equals, value = item.partition("=")
        if not equals or not factor.strip() or not value.strip():
            raise OmnikitError(
                f"The style '{text}' cannot be read at '{item}'.\nWrite factor=value pairs: emotion=sad,pitch=low"
            )
        labels[factor.strip()] = value.strip()
    return labels


class FactorSpace:
    """The factors of a style module, their values, and which values are points of a scale.

    Args:
        owner: the id of the style module, for messages.
        factors: the values of each factor; the first is the default.
        scales: factor → value → position. Entries for factors or values that do not exist say nothing, and a factor
            with fewer than two positions has no scale.

    Raises `OmnikitError` for a factor without distinct values, or a scale on which two values coincide.
    """

    def __init__(
        self, owner: str, factors: Mapping[str, Sequence[str]], scales: Mapping[str, Mapping[str, float]]
    ) -> None:
        self.owner = owner
        self.factors = {name: tuple(values) for name, values in factors.items()}
        self.scales: dict[str, dict[str, float]] = {}
        for name, values in self.factors.items():
            if not values or len(set(values)) != len(values):
                raise OmnikitError(f"{owner}: '{name}' needs distinct values, got {list(values)}.")
            placed = {value: float(scales.get(name, {})[value]) for value in values if value in scales.get(name, {})}
            if len(set(placed.values())) != len(placed) or not all(map(math.isfinite, placed.values())):
                raise OmnikitError(f"{owner}: the scale of '{name}' needs distinct finite positions, got {placed}.")
            if len(placed) > 1:
                self.scales[name] = dict(sorted(placed.items(), key=lambda item: item[1]))

    @property
    def num_combinations(self) -> int:
        """How many combinations of named values there are."""
        return math.prod(len(values) for values in self.factors.values())

    def combinations(self) -> list[dict[str, str]]:
        """Every combination of named values, in the order of rows (the last factor changes fastest)."""
        return [dict(zip(self.factors, values, strict=True)) for values in product(*self.factors.values())]

    def complete(self, labels: Labels) -> dict[str, Label]:
        """All factors: what `labels` says, and the default for the rest. A number at a name's position is that name.

        Raises `UnknownName` for a factor or value that does not exist, `OmnikitError` for a number off the scale.
        """
        for name in labels:
            if name not in self.factors:
                raise unknown_name("style factor", name, self.factors)
        return {
            name: self._read(name, labels[name]) if name in labels else values[0]
            for name, values in self.factors.items()
        }

    def position(self, name: str, label: Label) -> float:
        """Where a completed label lies on the scale of its factor."""
        return self.scales[name][label] if isinstance(label, str) else label

    def row(self, labels: Mapping[str, str]) -> int:
        """The row of a completed combination of names."""
        row = 0
        for name, values in self.factors.items():
            row = row * len(values) + values.index(labels[name])
        return row

    def mixture(self, labels: Mapping[str, Label]) -> dict[int, float]:
        """Completed labels as row → weight: positive weights that sum to 1, one row of weight 1 for names alone."""
        options = [self.neighbours(name, labels[name]) for name in self.factors]
        return {
            self.row(dict(zip(self.factors, (value for value, _ in corner), strict=True))): math.prod(
                weight for _, weight in corner
            )
            for corner in product(*options)
        }

    def _read(self, name: str, label: Label) -> Label:
        if isinstance(label, str) and label in self.factors[name]:
            return label
        scale = self.scales.get(name, {})
        number = _number(label)
        if number is None or not scale:
            hint = f"A number from {_range(scale)} is accepted too." if scale else ""
            raise unknown_name(f"value of style factor '{name}'", str(label), self.factors[name], hint)
        if not min(scale.values()) <= number <= max(scale.values()):
            raise OmnikitError(
                f"{name}={number:g} lies outside the scale of {self.owner}.\n"
                f"Accepted: numbers from {_range(scale)}, or a name: {', '.join(self.factors[name])}."
            )
        return next((value for value, position in scale.items() if position == number), number)

    def neighbours(self, name: str, label: Label) -> list[tuple[str, float]]:
        """The named values that a label lies between, with their weights."""
        if isinstance(label, str):
            return [(label, 1.0)]
        for (below, low), (above, high) in pairwise(self.scales[name].items()):
            if low <= label <= high:
                share = (label - low) / (high - low)
                return [(below, 1.0 - share), (above, share)]
        raise AssertionError(f"{name}={label} was not completed")


def _number(label: Label) -> float | None:
    if isinstance(label, bool):
        return None
    try:
        number = float(label)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _range(scale: Mapping[str, float]) -> str:
    """`0.8 (slow) to 1.25 (fast)`."""
    named = list(scale.items())
    return " to ".join(f"{position:g} ({value})" for value, position in (named[0], named[-1]))
