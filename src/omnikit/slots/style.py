"""The slot `style`: how something is said, as labels and as the vector that a detokenizer accepts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from omnikit.slots.base import Component
from omnikit.types import Style, StyleSource


class StyleModule(Component):
    """A style module. Its contract gives port `style` (StylePort)."""

    @property
    @abstractmethod
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """The factors it knows and the values of each, the first value being the default; empty for `style/none`."""

    @abstractmethod
    def from_labels(self, labels: Sequence[Mapping[str, str]], source: StyleSource = "user") -> Style:
        """Styles of a batch from factor → value mappings (missing factors take the default).

        Raises `UnknownName` for a factor or value that does not exist.
        """

    @abstractmethod
    def fit(self, vectors: Tensor, labels: Sequence[Mapping[str, str]], space_id: str) -> None:
        """Learn what labels mean from example `vectors` [N, D] of the space `space_id` and their labels."""
