"""What a checker works with: `@checks(pattern)` registers it, `Golden` gives it one file and records every comparison.

The error of a float tensor is max|got - expected| / max|expected|; integers, booleans and strings must be equal.
Every tensor of a file must be read, compared, or left out by name and with a reason; otherwise the test fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

VALUES = 1e-5  # spectra, hidden states, waveforms, losses
FLOWS = 2e-5  # log-durations, splines, log-determinants, likelihoods
GRADIENTS = 1e-3
TINY = 1e-7  # a reference that is nowhere above this is noise around zero

# files described together by one JSON list, whose entries carry the name under "file"
SHARED_TWIN = {"omni/projector_*": "omni/projectors"}
DOCUMENTS = (".md", ".py")

Checker = Callable[["Golden"], None]
_CHECKERS: dict[str, Checker] = {}


def checks(pattern: str) -> Callable[[Checker], Checker]:
    """Register the decorated function as the checker of every golden file whose id (`speech/fsq`) matches `pattern`."""

    def register(checker: Checker) -> Checker:
        if pattern in _CHECKERS:
            raise ValueError(
                f"two checkers for golden file {pattern}: {_CHECKERS[pattern].__module__} and {checker.__module__}"
            )
        _CHECKERS[pattern] = checker
        return checker

    return register


def patterns() -> list[str]:
    """The patterns that have a checker."""
    return sorted(_CHECKERS)


def checker_of(file_id: str) -> Checker | None:
    """The checker of a golden file; an exact name goes before a pattern."""
    matching = [pattern for pattern in _CHECKERS if fnmatchcase(file_id, pattern)]
    return _CHECKERS[max(matching, key=lambda pattern: (pattern == file_id, len(pattern)))] if matching else None


@dataclass(frozen=True)
class Row:
    """One comparison: relative `error` and `tolerance` (0: must be equal), and the `problem`, empty if it holds."""

    name: str
    error: float
    tolerance: float
    problem: str = ""

    def __str__(self) -> str:
        verdict = f"FAIL {self.problem}" if self.problem else "ok"
        return f"{self.name:<44} error {self.error:8.1e}  allowed {self.tolerance:7.0e}  {verdict}"


@dataclass
class Golden:
    """One golden file: tensors, JSON twin, and the comparisons made so far."""

    file_id: str
    folder: Path
    rows: list[Row] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    @cached_property
    def meta(self) -> Any:
        """The JSON twin; for files described together, this file's entry."""
        for pattern, twin in SHARED_TWIN.items():
            if fnmatchcase(self.file_id, pattern):
                entries = json.loads((self.folder / f"{twin}.json").read_text(encoding="utf-8"))
                return next(entry for entry in entries if entry["file"] == f"{Path(self.file_id).name}.safetensors")
        return json.loads((self.folder / f"{self.file_id}.json").read_text(encoding="utf-8"))

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        path = self.folder / f"{self.file_id}.safetensors"
        if not path.exists():
            return {}
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Tensor:
        """A tensor of the file; reading it counts as using it."""
        if name not in self._tensors:
            raise KeyError(f"{self.file_id} has no tensor {name}")
        self._seen.add(name)
        return self._tensors[name]

    def names(self, pattern: str = "*") -> list[str]:
        """The names of the file's tensors that match `pattern`."""
        return sorted(name for name in self._tensors if fnmatchcase(name, pattern))

    def state(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below `prefix`, without it: a state dict."""
        return {name[len(prefix) :]: self[name] for name in self._tensors if name.startswith(prefix)}

    def close(self, name: str, got: Tensor, tolerance: float = VALUES, valid: Tensor | None = None) -> None:
        """Hold `got` against the tensor `name`; `valid` (boolean, broadcastable) picks what is compared."""
        expected = self[name]
        if got.shape != expected.shape:
            self._record(name, float("inf"), tolerance, f"shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
            return
        a, b = got.detach().to(torch.float64), expected.to(torch.float64)
        if valid is not None:
            chosen = valid.broadcast_to(expected.shape)
            a, b = a[chosen], b[chosen]
        if not b.numel():
            self._record(name, float("inf"), tolerance, "nothing to compare")
            return
        scale = b[b.isfinite()].abs().amax().item() if bool(b.isfinite().any()) else 0.0
        if scale < TINY:
            same = bool(a.isfinite().all()) and a.abs().amax().item() < 10 * TINY
            self._record(name, 0.0 if same else float("inf"), tolerance, "" if same else "expected zero")
            return
        apart = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).nan_to_num(nan=float("inf"))
        error = apart.amax().item() / scale
        self._record(name, error, tolerance, "" if error <= tolerance else "too far")

    def exact(self, name: str, got: Tensor, valid: Tensor | None = None) -> None:
        """Hold `got` against the tensor `name`, which it must equal in every (valid) position; dtypes may differ."""
        expected = self[name]
        if got.shape != expected.shape:
            self._record(name, float("inf"), 0.0, f"shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
            return
        differs = got.detach().to(torch.float64) != expected.to(torch.float64)
        if valid is not None:
            differs = differs[valid.broadcast_to(expected.shape)]
        if not differs.numel():
            self._record(name, float("inf"), 0.0, "nothing to compare")
            return
        share = differs.double().mean().item()
        self._record(name, share, 0.0, f"{int(differs.sum())} of {differs.numel()} differ" if share else "")

    def equal(self, name: str, got: object, expected: object) -> None:
        """Hold a plain value (from the JSON twin) against what came out."""
        self._record(
            name, float(got != expected), 0.0, "" if got == expected else f"got {got!r}, expected {expected!r}"[:160]
        )

    def leave(self, pattern: str, reason: str) -> None:
        """Leave the tensors that match `pattern` out of the comparison, for a reason that the report prints."""
        self.left[pattern] = reason

    def problems(self) -> list[str]:
        """Everything that makes this file fail: comparisons, tensors nobody looked at, idle exclusions."""
        found = [str(row) for row in self.rows if row.problem]
        if not self.rows:
            found.append("the checker compared nothing")
        unseen = [name for name in self._tensors if name not in self._seen]
        idle = [pattern for pattern in self.left if not any(fnmatchcase(name, pattern) for name in unseen)]
        found += [f"left out, but every such tensor was used: {pattern}" for pattern in idle]
        forgotten = [name for name in unseen if not any(fnmatchcase(name, pattern) for pattern in self.left)]
        found += [f"neither compared nor left out: {name}" for name in sorted(forgotten)]
        return found

    def worst(self) -> Row | None:
        """The comparison that came nearest to its tolerance, or went furthest beyond it."""
        rank = {id(row): row.error / row.tolerance if row.tolerance else row.error * 1e9 for row in self.rows}
        return max(self.rows, key=lambda row: rank[id(row)], default=None)

    def lines(self) -> Iterator[str]:
        """The report of this file, one line a tensor."""
        yield from (str(row) for row in self.rows)
        for pattern, reason in self.left.items():
            yield f"{pattern:<44} left out: {reason}"

    def as_dict(self) -> dict[str, Any]:
        """The report of this file for `--golden-report`."""
        return {
            "tensors": [asdict(row) for row in self.rows],
            "left_out": dict(self.left),
            "problems": self.problems(),
        }

    def _record(self, name: str, error: float, tolerance: float, problem: str) -> None:
        self.rows.append(Row(name, error, tolerance, problem))


def file_ids(folder: Path) -> list[str]:
    """The ids of the golden files in `folder`: `speech/fsq` for `speech/fsq.json` and `.safetensors` together."""
    known, strange = set(), set()
    for path in folder.glob("*/*"):
        name = path.relative_to(folder)
        if path.suffix in (".json", ".safetensors"):
            known.add(name.with_suffix("").as_posix())
        elif path.is_file() and path.suffix not in DOCUMENTS:
            strange.add(name.as_posix())
    return sorted((known - set(SHARED_TWIN.values())) | strange)
