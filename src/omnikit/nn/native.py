"""Small C kernels, built on first use by the compiler of the machine; whoever uses one has a way without it.

A built library is kept in the user's cache folder (`$XDG_CACHE_HOME/omnikit`, else `~/.cache/omnikit`), under a name
that says which source, compiler and processor it is of. `OMNIKIT_NATIVE=0` in the environment turns all kernels off.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

_log = logging.getLogger(__name__)
_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-pthread", "-shared", "-fPIC")
_LONGEST_BUILD_S = 60


@lru_cache
def library(source: str) -> ctypes.CDLL | None:
    """The C `source` as a library, or None where it cannot be had: no compiler, no place to keep it, or turned off."""
    if os.environ.get("OMNIKIT_NATIVE") == "0":
        return None
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or os.name != "posix":
        _say_once("no native kernels: no C compiler is there; the same is computed in PyTorch")
        return None
    try:
        folder = _cache()
        said = "\n".join([source, compiler, *_FLAGS, platform.machine(), _processor()])
        path = folder / f"{hashlib.sha256(said.encode()).hexdigest()[:24]}.so"
        if not path.exists():
            _build(compiler, source, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        _say_once(f"no native kernel: {error}; the same is computed in PyTorch")
        return None


@lru_cache
def _say_once(text: str) -> None:
    _log.info(text)


def _cache() -> Path:
    """A folder that only this user can write to. Raises `PermissionError` where that cannot be had."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "omnikit" / "native"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.stat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise PermissionError(f"others can write to {folder}")
    return folder


def _processor() -> str:
    """What the processor can do: code that was built for it runs on no lesser one."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else [platform.processor()]
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _build(compiler: str, source: str, path: Path) -> None:
    """Compile into place, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        code, built = Path(folder) / "kernel.c", Path(folder) / "kernel.so"
        code.write_text(source)
        command = [compiler, *_FLAGS, "-o", str(built), str(code), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=_LONGEST_BUILD_S)
        built.replace(path)
