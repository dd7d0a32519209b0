"""Processes that end together: a study, its cells, and the commands of a cell.

A wish to stop goes down this tree as a signal; what is asked saves and ends, and what does not in time is killed with
all that it started. The other way round, a process whose parent is gone, however it went, stops by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

GRACE_S = 60.0
"""How long what was asked to end may take to save."""
LOOK_EVERY_S = 1.0
TIED = "OMNIKIT_TIED_TO"
"""The variable by which a process is told its parent's number."""


class Stopped(KeyboardInterrupt):
    """A signal asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def code(self) -> int:
        """The exit code of a process that a signal ended, as shells have it."""
        return 128 + self.number


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, Ctrl-C, SIGTERM and a closed terminal raise `Stopped`, also in a shell's background, where Ctrl-C is off.

    Processes that are started within can be stopped, too: they inherit what is ignored, not what is handled. A terminal
    whose closing is ignored already (nohup) stays so. Outside the main thread, where Python takes no signals, it does
    nothing.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {
        number: signal.signal(number, stop)
        for number in numbers
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def tied(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables for a process that is to end when this one does."""
    return {**variables, TIED: str(os.getpid())}


def end_with_parent() -> None:
    """Where this process is tied to its parent: interrupt it once the parent is gone, and kill it if that is no use.

    Interrupts are then taken once: what is being saved is not broken off by a second one. Windows keeps no account of
    parents, so there a process outlives its own.
    """
    parent = os.environ.pop(TIED, None)  # what this process starts is not the parent's child
    if parent is None or os.name != "posix":
        return
    asked = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not asked.is_set():
            asked.set()
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # wakes it where it waits for something
    time.sleep(2 * GRACE_S)  # it may itself wait for what has that long to save
    if os.getpgid(0) == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def stop(processes: Sequence[subprocess.Popen[Any]], grace_s: float = GRACE_S) -> None:
    """Ask processes to end and wait until they have; kill those that take longer, or all when interrupted again."""
    deadline = time.monotonic() + grace_s
    try:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        for process in processes:
            kill(process)


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process at once, with all others of its group where it leads one."""
    with suppress(ProcessLookupError):  # it may end meanwhile
        if process.poll() is None and os.name == "posix" and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
