"""`style/none`: the system says everything in the one way that its detokenizer knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from omnikit.contracts import Contract, StylePort
from omnikit.errors import unknown_name
from omnikit.slots.style import StyleModule
from omnikit.types import Labels, Style, StyleSource


class NoStyle(StyleModule):
    """No style: no factors, no vector.

    Contract: gives a style of view `none`.
    """

    @classmethod
    def contract(cls) -> Contract:
        return Contract(gives={"style": StylePort(view="none", dim=0, space_id="none")}, causal=True, lookahead_ms=0.0)

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """Empty: nothing can be chosen."""
        return {}

    def from_labels(self, labels: Sequence[Labels], source: StyleSource = "user") -> Style:
        """A style without vector for every row. Raises `UnknownName` for any factor, as there are none."""
        for row in labels:
            for factor in row:
                raise unknown_name("style factor", factor, (), "style/none has none; choose style=label_centroid.")
        return Style(labels=tuple({} for _ in labels), source=source)

    def fit(self, vectors: Tensor, labels: Sequence[Labels], space_id: str) -> None:
        """Changes nothing: without factors there is nothing to learn."""
