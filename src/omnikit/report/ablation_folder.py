"""What lies in the folder of a sweep, read so that nothing broken stops a report: what cannot be used is told instead.

Only `sweep.json` must be readable. A cell whose files are missing, torn or contradict each other is read as far as it
goes, and a line about it goes to `problems`. Letters: S seeds, N items.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from omnikit.errors import OmnikitError

FORMAT = 1
STATES = ("queued", "running", "done", "failed", "preempted")
UNREADABLE = "unreadable"
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Confusion:
    """How often what was asked (rows) was taken for what (columns), as counts."""

    asked: tuple[str, ...]
    heard: tuple[str, ...]
    counts: np.ndarray


@dataclass(frozen=True)
class UseCounts:
    """How often the entries of codebooks of `sizes` occur: for each of them the counts above 0."""

    sizes: tuple[int, ...]
    counts: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Score:
    """One metric of one cell. `value` is a share where the unit is %; per-item sums are None for single numbers."""

    metric: str
    signature: str
    name: str
    higher_is_better: bool | None
    value: float
    unit: str
    errors: np.ndarray | None = None
    lengths: np.ndarray | None = None
    items: tuple[str, ...] | None = None
    clusters: tuple[str, ...] | None = None
    confusion: Confusion | None = None
    use: UseCounts | None = None


@dataclass(frozen=True)
class Take:
    """A prompt as spoken by a cell."""

    prompt: str
    text: str
    file: Path


@dataclass(frozen=True)
class Training:
    """A training that a cell needed; cells that name the same `key` used one and the same."""

    key: str
    stage: str
    wall_s: float
    cpu_s: float
    flops: float | None


@dataclass(frozen=True)
class Arm:
    """One answer to the question of a sweep: what it changes, and why it could not run, if it could not."""

    name: str
    overrides: tuple[str, ...]
    pruned: str | None


@dataclass(frozen=True)
class Cell:
    """One run: an arm with a seed, how far it came and what it left."""

    id: str
    arm: str
    seed: int
    state: str
    exception: str | None
    started: str | None
    ended: str | None
    host: str | None
    step: int | None
    log_tail: tuple[str, ...]
    cost: Mapping[str, float]
    trainings: tuple[Training, ...]
    scores: tuple[Score, ...]
    curves: Mapping[tuple[str, str], np.ndarray]
    """Rows of (step, value) by stage and name."""
    takes: tuple[Take, ...]

    @property
    def done(self) -> bool:
        """Whether its scores count."""
        return self.state == "done"


@dataclass(frozen=True)
class Sweep:
    """A sweep as found; `problems` say what was missing or broken."""

    folder: Path
    name: str
    question: str
    kind: str
    baseline: str
    primary: str | None
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]
    problems: tuple[str, ...]

    def cells_of(self, arm: str) -> list[Cell]:
        """The cells of an arm, by seed."""
        return sorted((cell for cell in self.cells if cell.arm == arm), key=lambda cell: cell.seed)


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep's folder. Raises `OmnikitError` where `sweep.json` is missing, no JSON, or says too little."""
    head = _head(folder)
    problems: list[str] = []
    arms = [
        Arm(str(item["name"]), tuple(map(str, item.get("overrides") or ())), _text(item.get("pruned")))
        for item in _records(head.get("arms"), ("name",), "sweep.json, arms", problems)
    ]
    names = [arm.name for arm in arms]
    if not arms:
        raise OmnikitError(f"{folder / 'sweep.json'} names no arms, so there is nothing to report.")
    cells, taken = [], set()
    for item in _records(head.get("cells"), ("id", "arm", "seed"), "sweep.json, cells", problems):
        place = (item["arm"], item["seed"])
        if item["arm"] not in names or not isinstance(item["seed"], int) or place in taken:
            why = "is there twice" if place in taken else "is no seed of an arm that sweep.json names"
            problems.append(f"cell {item['id']} ({item['arm']}, seed {item['seed']}) {why}; left out")
            continue
        taken.add(place)
        cells.append(_Reader(folder, item, problems).cell())
    baseline = str(head.get("baseline") or names[0])
    if baseline not in names:
        problems.append(f"the baseline '{baseline}' is no arm, so there are no differences")
    return Sweep(
        folder=folder,
        name=str(head.get("name") or folder.name),
        question=str(head.get("question") or ""),
        kind=str(head.get("kind") or ""),
        baseline=baseline,
        primary=str(head["primary"]) if head.get("primary") else None,
        seeds=tuple(seed for seed in head.get("seeds") or () if isinstance(seed, int)),
        arms=tuple(arms),
        cells=tuple(cells),
        problems=tuple(problems),
    )


def _head(folder: Path) -> dict[str, Any]:
    path = folder / "sweep.json"
    if not path.is_file():
        raise OmnikitError(
            f"There is no sweep in {folder}: it has no sweep.json.\n"
            "Give the folder that `omnikit ablate` wrote, e.g. runs/tokenizer_swap."
        )
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OmnikitError(
            f"{path} cannot be read: {error}\nThe command that made the sweep writes it again; nothing done is lost."
        ) from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        found = head.get("format") if isinstance(head, dict) else head
        raise OmnikitError(f"{path} has format {found!r}; this version of omnikit reads format {FORMAT}.")
    return head


def _records(items: object, needed: Sequence[str], where: str, problems: list[str]) -> Iterator[dict[str, Any]]:
    """The items that are objects with the keys `needed`; others become problems."""
    for number, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, dict) and all(key in item for key in needed):
            yield item
        else:
            problems.append(f"{where}: entry {number} lacks one of {', '.join(needed)}; left out")


@dataclass
class _Reader:
    """Reads one cell and notes what is wrong with it."""

    sweep: Path
    entry: Mapping[str, Any]
    problems: list[str]
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"{self.entry['arm']}, seed {self.entry['seed']} ({self.entry['id']})"
        self.folder = self.sweep / str(self.entry.get("folder") or f"cells/{self.entry['id']}")

    def note(self, text: str) -> None:
        self.problems.append(f"{self.name}: {text}")

    def cell(self) -> Cell:
        inside = self.folder.resolve().is_relative_to(self.sweep.resolve())
        if not inside:
            self.note("its folder lies outside the sweep; not read")
        status = self._status() if inside else {"state": UNREADABLE}
        state = str(status.get("state"))
        scores = self._scores(state) if inside else ()
        exception = status.get("exception")
        step = status.get("step")
        tail = status.get("log_tail")
        return Cell(
            id=str(self.entry["id"]),
            arm=str(self.entry["arm"]),
            seed=int(self.entry["seed"]),
            state=state,
            exception=str(exception) if exception else None,
            started=_text(status.get("started")),
            ended=_text(status.get("ended")),
            host=_text(status.get("host")),
            step=step if isinstance(step, int) else None,
            log_tail=tuple(map(str, tail)) if isinstance(tail, list) else (),
            cost=_numbers(status.get("cost")),
            trainings=_trainings(status.get("trainings")),
            scores=scores,
            curves=self._curves() if inside else {},
            takes=self._takes() if inside else (),
        )

    def _status(self) -> dict[str, Any]:
        path = self.folder / "status.json"
        if not path.is_file():
            return {"state": "queued"}
        try:
            status = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.note(f"status.json cannot be read ({error})")
            return {"state": UNREADABLE, "exception": "status.json cannot be read"}
        if not isinstance(status, dict) or status.get("state") not in STATES:
            self.note(f"status.json says no known state ({', '.join(STATES)})")
            return {"state": UNREADABLE, "exception": "status.json says no known state"}
        return status

    def _scores(self, state: str) -> tuple[Score, ...]:
        if state != "done":
            return ()
        if not (self.folder / "scores.jsonl").is_file():
            self.note("is done, but left no scores.jsonl")
            return ()
        found: dict[tuple[str, str], Score] = {}
        for line, record in self._lines("scores.jsonl"):
            score = self._score(record, line)
            if score is None:
                continue
            if (score.metric, score.signature) in found:
                self.note(f"scores.jsonl gives {score.metric} twice; the last one counts")
            found[score.metric, score.signature] = score
        return tuple(found.values())

    def _score(self, record: Mapping[str, Any], line: int) -> Score | None:
        metric, value = record.get("metric"), record.get("value")
        if not isinstance(metric, str):
            self.note(f"scores.jsonl, line {line} names no metric; left out")
            return None
        if not _finite(value):
            self.note(f"{metric} has no value ({value!r})")
            return None
        signature = record.get("signature")
        if not isinstance(signature, str) or not signature:
            self.note(f"{metric} has no signature, so nobody knows what it can be compared with; left out")
            return None
        unit, higher = str(record.get("unit") or ""), record.get("higher_is_better")
        return Score(
            metric=metric,
            signature=signature,
            name=str(record.get("name") or metric),
            higher_is_better=higher if isinstance(higher, bool) else None,
            value=float(value),
            unit=unit,
            confusion=self._confusion(metric, record.get("confusion")),
            use=self._use(metric, record.get("use")),
            **self._items(metric, float(value), record),
        )

    def _items(self, metric: str, value: float, record: Mapping[str, Any]) -> dict[str, Any]:
        """Per-item sums, if they are whole and make up the value."""
        if record.get("errors") is None:
            return {}
        names, clusters = record.get("items"), record.get("clusters")
        try:
            errors, lengths = (np.asarray(record[key], dtype=float) for key in ("errors", "lengths"))
        except (KeyError, TypeError, ValueError):
            self.note(f"{metric}: errors or lengths are no lists of numbers; its items are left out")
            return {}
        if not (isinstance(names, list) and errors.ndim == 1 and len(errors) == len(lengths) == len(names)):
            self.note(f"{metric}: errors, lengths and items are not of one length; its items are left out")
            return {}
        if len(set(map(str, names))) < len(names):
            self.note(f"{metric}: an item is there twice; its items are left out")
            return {}
        whole = np.isfinite(errors).all() and np.isfinite(lengths).all() and lengths.sum() > 0
        made = float(errors.sum() / lengths.sum()) if whole else math.nan
        if not math.isclose(made, value, rel_tol=_TOLERANCE, abs_tol=1e-9):
            self.note(f"{metric}: its value {value:g} is not Σ errors / Σ lengths ({made:g}); its items are left out")
            return {}
        if clusters is not None and not (isinstance(clusters, list) and len(clusters) == len(names)):
            self.note(f"{metric}: clusters are not of the length of the items; every item counts as its own")
            clusters = None
        return {
            "errors": errors,
            "lengths": lengths,
            "items": tuple(map(str, names)),
            "clusters": tuple(map(str, clusters)) if clusters is not None else None,
        }

    def _confusion(self, metric: str, found: Any) -> Confusion | None:
        if found is None:
            return None
        try:
            asked, heard = (tuple(map(str, found[key])) for key in ("asked", "heard"))
            counts = np.asarray(found["counts"], dtype=float)
        except (KeyError, TypeError, ValueError):
            counts, asked, heard = np.empty(0), (), ()
        if counts.shape != (len(asked), len(heard)) or not counts.size or not np.isfinite(counts).all():
            self.note(f"{metric}: its confusion matrix does not fit its labels; left out")
            return None
        return Confusion(asked, heard, counts)

    def _use(self, metric: str, found: Any) -> UseCounts | None:
        if found is None:
            return None
        try:
            sizes = tuple(map(int, found["sizes"]))
            counts = tuple(np.asarray(book, dtype=float) for book in found["counts"])
            fits = len(sizes) == len(counts) and all(
                book.ndim == 1 and 0 < len(book) <= size and np.isfinite(book).all() and (book > 0).all()
                for size, book in zip(sizes, counts, strict=True)
            )
        except (KeyError, TypeError, ValueError):
            sizes, counts, fits = (), (), False
        if not sizes or not fits:
            self.note(f"{metric}: its counts of units do not fit its codebooks; left out")
            return None
        return UseCounts(sizes, counts)

    def _curves(self) -> dict[tuple[str, str], np.ndarray]:
        if not (self.folder / "curves.jsonl").is_file():
            return {}
        rows: dict[tuple[str, str], dict[float, float]] = {}
        for _, record in self._lines("curves.jsonl"):
            step, value = record.get("step"), record.get("value")
            if _finite(step) and _finite(value):
                own = rows.setdefault((str(record.get("stage", "")), str(record.get("name", ""))), {})
                own[float(step)] = float(value)  # the last word on a step: resumed runs repeat some
        return {key: np.array(sorted(own.items())) for key, own in rows.items()}

    def _takes(self) -> tuple[Take, ...]:
        folder = self.folder / "media"
        if not (folder / "media.json").is_file():
            return ()
        try:
            entries = json.loads((folder / "media.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.note(f"media.json cannot be read ({error})")
            return ()
        takes = []
        for entry in _records(entries, ("prompt", "file"), f"{self.name}: media.json", self.problems):
            file = folder / str(entry["file"])
            if not file.resolve().is_relative_to(folder.resolve()):
                self.note(f"media.json points outside its folder ({entry['file']}); left out")
            elif not file.is_file():
                self.note(f"the sound {entry['file']} is missing")
            else:
                takes.append(Take(str(entry["prompt"]), str(entry.get("text") or ""), file))
        return tuple(takes)

    def _lines(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The objects of a JSON-lines file with their line numbers; torn lines become one problem."""
        try:
            text = (self.folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            self.note(f"{name} cannot be read ({error})")
            return
        torn = []
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict):
                yield number, record
            else:
                torn.append(str(number))
        if torn:
            self.note(f"{name}: line {', '.join(torn)} is no JSON object; left out")


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(found: object) -> dict[str, float]:
    return {str(k): float(v) for k, v in found.items() if _finite(v)} if isinstance(found, dict) else {}


def _trainings(found: object) -> tuple[Training, ...]:
    """The trainings of a cell, none where one of them is not told whole."""
    made = []
    for item in found if isinstance(found, list) else []:
        told = item if isinstance(item, dict) else {}
        key, wall, cpu, flops = (told.get(name) for name in ("key", "wall_s", "cpu_s", "flops"))
        if not (isinstance(key, str) and _finite(wall) and _finite(cpu)):
            return ()
        made.append(Training(key, str(told.get("stage")), wall, cpu, float(flops) if _finite(flops) else None))
    return tuple(made)


def _text(value: object) -> str | None:
    return str(value) if value else None
