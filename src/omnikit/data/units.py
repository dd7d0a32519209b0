"""Unit sequences of a corpus, extracted once for each unit vocabulary and read many times.

They lie beside the audio in `CORPUS/units/<vocab_id>/`: one flat array, its offsets, and the audio paths in order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from omnikit.errors import DataError


class UnitStore(Mapping[str, np.ndarray]):
    """Audio path (relative to the corpus) → codes [K, T] int32 of one unit vocabulary."""

    def __init__(self, corpus: Path, vocab_id: str) -> None:
        self.folder = Path(corpus) / "units" / vocab_id
        self._rows: dict[str, np.ndarray] = {}
        if (self.folder / "paths.json").is_file():
            paths = json.loads((self.folder / "paths.json").read_text())
            arrays = load_file(self.folder / "units.safetensors")
            codes, ends = arrays["codes"], arrays["ends"]
            starts = np.concatenate([[0], ends[:-1]])
            self._rows = {path: codes[:, a:b] for path, a, b in zip(paths, starts, ends, strict=True)}

    def __getitem__(self, path: str) -> np.ndarray:
        try:
            return self._rows[path]
        except KeyError:
            raise DataError(
                f"No units of '{path}' in {self.folder}; extract them first (the stages do so by themselves)."
            ) from None

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def missing(self, paths: list[str]) -> list[str]:
        """Those of `paths` that have no units yet, in order and once each."""
        return [path for path in dict.fromkeys(paths) if path not in self._rows]

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Add sequences and write the store anew, whole or not at all."""
        self._rows.update({path: np.asarray(codes, dtype=np.int32) for path, codes in rows.items()})
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = list(self._rows)
        codes = np.concatenate([self._rows[path] for path in paths], axis=1)  # [K, sum T]
        ends = np.cumsum([self._rows[path].shape[1] for path in paths]).astype(np.int64)
        save_file({"codes": np.ascontiguousarray(codes), "ends": ends}, self.folder / "units.tmp")
        (self.folder / "paths.tmp").write_text(json.dumps(paths))
        os.replace(self.folder / "units.tmp", self.folder / "units.safetensors")
        os.replace(self.folder / "paths.tmp", self.folder / "paths.json")
