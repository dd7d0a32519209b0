"""What a sweep shows while it runs: a live table on a terminal, plain lines elsewhere. It only reads status files."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from omnikit.ablation.plan import Cell

EVERY_S = 1.0
LINE_EVERY_S = 30.0
ENDED = ("done", "failed")


class View:
    """Watches the cells of a sweep until it is closed."""

    def __init__(self, folder: Path, cells: Sequence[Cell]) -> None:
        self.folder, self.cells = folder, cells
        self.began = time.time()
        self.live = sys.stdout.isatty()
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._draw if self.live else self._print, daemon=True)

    def __enter__(self) -> View:
        """Begin to show."""
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""
        self.closed.set()
        self.thread.join()

    def ended(self, cell: Cell, state: str) -> None:
        """Print that a cell ended, where there is no live table."""
        if not self.live:
            done = sum(status["state"] in ENDED for _, status in self._statuses())
            print(f"{state} {cell.arm}, seed {cell.seed}  ({done}/{len(self.cells)}{self._left(done)})", flush=True)

    def _statuses(self) -> list[tuple[Cell, dict[str, Any]]]:
        from omnikit.ablation.status import read_status

        return [(cell, read_status(self.folder / cell.folder)) for cell in self.cells]

    def _left(self, done: int) -> str:
        """The time left, if every cell takes as long as those that ended."""
        if not done or done == len(self.cells):
            return ""
        seconds = (time.time() - self.began) / done * (len(self.cells) - done)
        return f", about {seconds / 60:.0f} min left" if seconds >= 60 else f", about {seconds:.0f} s left"

    def _print(self) -> None:
        while not self.closed.wait(LINE_EVERY_S):
            for cell, status in self._statuses():
                if status["state"] == "running":
                    print(f"running {cell.arm}, seed {cell.seed}: {progress(status)}", flush=True)

    def _draw(self) -> None:
        from rich.live import Live

        with Live(self._table(), auto_refresh=False) as live:
            while not self.closed.wait(EVERY_S):
                live.update(self._table(), refresh=True)
            live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        from rich.table import Table

        statuses = self._statuses()
        done = sum(status["state"] in ENDED for _, status in statuses)
        table = Table("arm", "seed", "state", "at", title=f"{done} of {len(self.cells)} cells{self._left(done)}")
        colours = {"done": "green", "failed": "red", "running": "cyan", "preempted": "yellow"}
        for cell, status in statuses:
            state = status["state"]
            shown = f"[{colours[state]}]{state}[/]" if state in colours else state
            table.add_row(cell.arm, str(cell.seed), shown, progress(status))
        return table


def progress(status: dict[str, Any]) -> str:
    """Where a cell is: its stage and step, or the first line of why it failed."""
    if status["state"] == "failed":
        return str(status["exception"]).splitlines()[0]
    if status["stage"] is None:
        return ""
    steps = f" {status['step']}/{status['steps']}" if status["step"] is not None else ""
    return f"{status['stage']}{steps}"
