"""Which rows of a batch a process takes, where several train together: the batch stays the same for any number of them.

A data set of batches that has an attribute `share` reads the rows of its own share only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Every `processes`-th row, from row `process` on; rows sorted by length are thus dealt out evenly."""

    process: int = 0
    processes: int = 1

    def of(self, rows: Sequence[T]) -> tuple[list[tuple[int, T]], bool]:
        """This process's rows with their places in the batch, and whether they count.

        A process that gets none stands in with the first row, which does not count: every process makes every step.
        """
        own = list(enumerate(rows))[self.process :: self.processes]
        return (own, True) if own else ([(0, rows[0])], False)
