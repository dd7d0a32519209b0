"""Unit sequences of many recordings in one folder, extracted once for each unit vocabulary and read many times.

A folder holds `paths.json` (the recordings in order) and `units.safetensors`: `codes` [K, sum T] int32 of all of them
one behind the other, `ends` [N] int64 where each ends, and `durations` [sum T] int32 in frames where runs of equal
units were merged. The folder of a corpus is `CORPUS/units/<vocab_id>`, its paths are relative to the corpus.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from omnikit.errors import DataError

ARRAYS, PATHS = "units.safetensors", "paths.json"
ATTEMPTS, PAUSE_S = 20, 0.1
"""How often, and after how long, files that do not fit each other are read again."""


class UnitStore(Mapping[str, np.ndarray]):
    """Audio path (relative to the corpus) → codes [K, T] int32 of one unit vocabulary."""

    def __init__(self, corpus: Path, vocab_id: str) -> None:
        self._open(Path(corpus) / "units" / vocab_id)

    @classmethod
    def at(cls, folder: Path) -> UnitStore:
        """The store of any folder, e.g. one that `omnikit data units` wrote. Raises `DataError` where there is none."""
        if not (Path(folder) / PATHS).is_file():
            raise DataError(
                f"{folder} holds no units: {PATHS} is missing. Write it by: omnikit data units --out {folder}"
            )
        store = cls.__new__(cls)
        store._open(Path(folder))
        return store

    def _open(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, np.ndarray] = {}
        self.durations: dict[str, np.ndarray] = {}
        """Frames that each step of a path lasts, [T]; empty where runs were not merged."""
        if not (folder / PATHS).is_file():
            return
        paths, arrays = _read_files(folder)
        ends = arrays["ends"]
        starts = np.concatenate([[0], ends[:-1]])
        for path, start, end in zip(paths, starts, ends, strict=True):
            self._rows[path] = arrays["codes"][:, start:end]
            if "durations" in arrays:
                self.durations[path] = arrays["durations"][start:end]

    def __getitem__(self, path: str) -> np.ndarray:
        try:
            return self._rows[path]
        except KeyError:
            raise DataError(
                f"No units of '{path}' in {self.folder}; extract them first (the stages do so by themselves)."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def missing(self, paths: list[str]) -> list[str]:
        """Those of `paths` that have no units yet, in order and once each."""
        return [path for path in dict.fromkeys(paths) if path not in self._rows]

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Add sequences and write the store anew, whole or not at all."""
        self._rows.update({path: np.asarray(codes, dtype=np.int32) for path, codes in rows.items()})
        write_units(self.folder, list(self._rows), list(self._rows.values()))


def _read_files(folder: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Paths and arrays of a folder that another process may be writing: it replaces one file after the other."""
    for _ in range(ATTEMPTS):
        paths = json.loads((folder / PATHS).read_text(encoding="utf-8"))
        arrays = load_file(folder / ARRAYS)
        if len(paths) == len(arrays["ends"]):
            return paths, arrays
        time.sleep(PAUSE_S)
    raise DataError(
        f"The units in {folder} are broken: {len(paths)} recordings are named, {len(arrays['ends'])} are there.\n"
        "Remove the folder; its units are extracted again."
    )


def write_units(
    folder: Path, paths: Sequence[str], codes: Sequence[np.ndarray], durations: Sequence[np.ndarray] | None = None
) -> None:
    """Write the two files of a folder of units: codes [K, T] and, where runs were merged, durations [T], a path."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {
        "codes": np.ascontiguousarray(np.concatenate(list(codes), axis=1), dtype=np.int32),  # [K, sum T]
        "ends": np.cumsum([own.shape[1] for own in codes]).astype(np.int64),
    }
    if durations is not None:
        arrays["durations"] = np.concatenate(list(durations)).astype(np.int32)
    staged = {name: folder / f"{name}.{os.getpid()}.tmp" for name in (ARRAYS, PATHS)}  # processes may write the same
    save_file(arrays, staged[ARRAYS])
    staged[PATHS].write_text(json.dumps(list(paths)), encoding="utf-8")
    for name, path in staged.items():
        os.replace(path, folder / name)
