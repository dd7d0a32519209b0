"""Locks between processes: held as long as a process that has them lives, gone with it, however it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omnikit.errors import OmnikitError

POLL_S = 0.2

try:
    import fcntl

    def _take(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

except ImportError:  # Windows
    import msvcrt

    def _take(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True


class Locked(OmnikitError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, *, wait: bool = True, waiting: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Hold the lock file `path`; gives its descriptor: a child process that inherits it holds the lock as well.

    `waiting` is called once where another process holds it. Raises `Locked` instead where `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _take(descriptor):
            if not wait:
                raise Locked(f"Another process holds {path}.")
            waiting()
            while not _take(descriptor):
                time.sleep(POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)
