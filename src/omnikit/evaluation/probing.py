"""Reading factors by probes: every reader on every trial, from true and from shuffled labels.

Letters: N training utterances, M test utterances, T frames, K codebooks, C classes, U units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from omnikit.evaluation.hearing import STYLE_FACTORS, Heard
from omnikit.evaluation.trials import Trial, phone_trial, shuffled_labels, utterance_trials
from omnikit.evaluation.views import View
from omnikit.metrics.clustered import balanced_accuracy
from omnikit.metrics.probes import Examples, fit_linear
from omnikit.metrics.rates import Rate
from omnikit.metrics.sequence_probes import UNUSED, Question, read_sequences

FACTORS = ("phone", "speaker", *STYLE_FACTORS)
MAX_FRAMES = 12_000
"""Frames that a linear probe of phones is fitted on, at most."""
CONFIDENCE = 0.95
FRAME_PENALTY = 1e-3
PRIOR = 5.0
"""Weight, in frames, of the overall frequency of a unit against its frequency within a phone."""


@dataclass(frozen=True)
class Scored:
    """What an accuracy was summed over: numbers of test utterances, and for each its `hits` and what all would be.

    Classes weigh the same in all utterances together, so Σ `hits` / Σ `weights` is the balanced accuracy. The weights
    depend on the utterances alone, so they are equal for all that is compared on them.
    """

    numbers: tuple[int, ...] = ()
    hits: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What one kind of probe (`reader`) reads of `factor` from `view`: balanced accuracy and its shuffled control.

    Intervals are over voices, at 95 % for all readers of this factor and view together (Bonferroni), so that the
    strongest one may be picked afterwards. `scored` and `scored_shuffled` are the utterances behind them.
    """

    factor: str
    view: str
    reader: str
    num_classes: int
    num_voices: int
    accuracy: Rate
    shuffled: Rate
    scored: Scored = field(default=Scored(), compare=False, repr=False)
    scored_shuffled: Scored = field(default=Scored(), compare=False, repr=False)

    @property
    def chance(self) -> float:
        """What guessing reaches."""
        return 1 / self.num_classes

    def as_dict(self) -> dict[str, Any]:
        """The reading as plain data, without the single utterances."""
        plain = {name: value for name, value in asdict(self).items() if not name.startswith("scored")}
        return {**plain, "chance": self.chance}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reading:
        """A reading from what `as_dict` gave."""
        plain = {name: value for name, value in data.items() if name != "chance"}
        return cls(**{**plain, "accuracy": Rate(**data["accuracy"]), "shuffled": Rate(**data["shuffled"])})


def strongest(readings: Sequence[Reading], factor: str, view: str) -> Reading | None:
    """The most accurate of the readings of a factor from a view; None where there is none."""
    own = [item for item in readings if (item.factor, item.view) == (factor, view)]
    return max(own, key=lambda item: item.accuracy.value, default=None)


@dataclass(frozen=True)
class Answers:
    """Classes that a reader gave to test utterances of a trial, by utterance number, from true and shuffled labels."""

    true: Mapping[int, np.ndarray]
    shuffled: Mapping[int, np.ndarray]


def read_factors(
    train: Sequence[Heard],
    test: Sequence[Heard],
    views: Sequence[View],
    seed: int,
    *,
    factors: Sequence[str] = FACTORS,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Reading]:
    """Everything that every reader reads of every factor from every view.

    A factor is left out where training and test share no two classes of it, or no voice is left to test on.
    """
    heard = [*train, *test]
    whole = [trial for trial in utterance_trials(train, test, seed) if trial.factor in factors and trial.rounds]
    readings: list[Reading] = []
    for number, view in enumerate(views):
        progress(f"reading {view.name}")
        rng = np.random.default_rng([seed, number])
        found: dict[str, list[tuple[Trial, str, Answers]]] = {}
        for trial in whole:
            found[trial.factor] = [
                (trial, reader, _read_vectors(trial, vectors, heard, rng)) for reader, vectors in view.vectors.items()
            ]
        if view.sequences and whole:
            for trial, answers in zip(whole, _read_whole(whole, view.sequences, heard, rng), strict=True):
                found[trial.factor].append((trial, "sequence", answers))
        if view.frames and "phone" in factors:
            found["phone"] = list(_read_phones(view, train, test, seed, rng))
        for own in found.values():
            readings += [_reading(view.name, *item, heard, len(own)) for item in own]
    order = {factor: place for place, factor in enumerate(FACTORS)}
    return sorted(readings, key=lambda item: order[item.factor])


def _read_vectors(trial: Trial, vectors: np.ndarray, heard: Sequence[Heard], rng: np.random.Generator) -> Answers:
    """Linear probes on one vector an utterance."""
    voices = np.array([item.voice for item in heard])
    given: tuple[dict[int, np.ndarray], dict[int, np.ndarray]] = ({}, {})
    for train, test in trial.rounds:
        other = shuffled_labels(trial, voices.tolist(), train, rng)
        for labels, answers in zip((dict(enumerate(trial.labels)), other), given, strict=True):
            classes = np.concatenate([labels[number] for number in train])
            if len(np.unique(classes)) < 2:
                continue
            probe = fit_linear(Examples(vectors[train], classes, voices[train]), trial.num_classes, rng)
            answers.update(zip(test.tolist(), probe.read(vectors[test])[:, None], strict=True))
    return Answers(*given)


def _read_whole(
    trials: Sequence[Trial], sequences: Sequence[np.ndarray], heard: Sequence[Heard], rng: np.random.Generator
) -> list[Answers]:
    """Sequence probes of all trials and rounds, trained side by side."""
    return _read_side_by_side(trials, sequences, [item.voice for item in heard], rng, by_frame=False)


def _read_side_by_side(
    trials: Sequence[Trial],
    sequences: Sequence[np.ndarray],
    voices: Sequence[str],
    rng: np.random.Generator,
    *,
    by_frame: bool,
) -> list[Answers]:
    teachers = sorted({int(number) for trial in trials for train, _ in trial.rounds for number in train})
    pupils = sorted({int(number) for trial in trials for _, test in trial.rounds for number in test})
    questions = []
    for trial in trials:
        for train, _ in trial.rounds:
            inside = set(train.tolist())
            for labels in (trial.labels, shuffled_labels(trial, voices, train, rng)):
                own = [labels[n] if n in inside else np.full_like(trial.labels[n], UNUSED) for n in teachers]
                questions.append(Question(own if by_frame else [int(row[0]) for row in own], trial.num_classes))
    read = iter(
        read_sequences(
            [sequences[number] for number in teachers],
            questions,
            [sequences[number] for number in pupils],
            by_frame=by_frame,
            seed=int(rng.integers(2**31)),
        )
    )
    place = {number: at for at, number in enumerate(pupils)}
    answers = []
    for trial in trials:
        true: dict[int, np.ndarray] = {}
        shuffled: dict[int, np.ndarray] = {}
        for _, test in trial.rounds:
            for given in (true, shuffled):
                said = next(read)
                given.update({int(number): np.atleast_1d(said[place[int(number)]]) for number in test})
        answers.append(Answers(true, shuffled))
    return answers


def _read_phones(
    view: View, train: Sequence[Heard], test: Sequence[Heard], seed: int, rng: np.random.Generator
) -> Iterator[tuple[Trial, str, Answers]]:
    """Every reader of phones: linear on a frame, a table of units, and frames with their neighbours."""
    trial = phone_trial(view, train, test, seed)
    if not trial.rounds:
        return
    voices = [item.voice for item in [*train, *test]]
    linear: tuple[dict[int, np.ndarray], dict[int, np.ndarray]] = ({}, {})
    table: tuple[dict[int, np.ndarray], dict[int, np.ndarray]] = ({}, {})
    for teachers, pupils in trial.rounds:
        other = shuffled_labels(trial, voices, teachers, rng)
        frames = np.concatenate([view.frames[number] for number in teachers])
        for labels, by_line, by_table in zip((dict(enumerate(trial.labels)), other), linear, table, strict=True):
            classes = np.concatenate([labels[number] for number in teachers])
            asked = np.flatnonzero(classes != UNUSED)
            some = rng.permutation(asked)[:MAX_FRAMES]
            if len(np.unique(classes[some])) > 1:
                examples = Examples(frames[some].astype(np.float64), classes[some], np.zeros(len(some)))
                probe = fit_linear(examples, trial.num_classes, rng, (FRAME_PENALTY,))
                by_line.update({int(number): probe.read(view.frames[number]) for number in pupils})
            if view.books:
                ids = np.concatenate([view.books[number] for number in teachers], axis=1)[:, asked]
                read = unit_table(ids, classes[asked], trial.num_classes)
                by_table.update({int(number): read(view.books[number]) for number in pupils})
    yield trial, "linear", Answers(*linear)
    if view.books:
        yield trial, "unit table", Answers(*table)
    if view.sequences:
        (answers,) = _read_side_by_side([trial], view.frames, voices, rng, by_frame=True)
        yield trial, "sequence", answers


def unit_table(ids: np.ndarray, classes: np.ndarray, num_classes: int) -> Callable[[np.ndarray], np.ndarray]:
    """A reader of ids [K, T] → classes [T]: the most likely class, with codebooks taken as independent.

    P(unit | class) is counted over `ids` [K, N] of `classes` [N] and drawn towards the unit's overall frequency by five
    frames' weight; classes weigh the same, so a unit that was never seen says nothing.
    """
    tables = []
    for row in ids:
        known, place = np.unique(row, return_inverse=True)
        counts = np.zeros((num_classes, len(known)))
        np.add.at(counts, (classes, place), 1)
        share = counts.sum(0) / counts.sum()
        likely = (counts + PRIOR * share) / (counts.sum(1, keepdims=True) + PRIOR)
        tables.append((known, np.log(likely / share)))  # [U], [C, U]

    def read(rows: np.ndarray) -> np.ndarray:
        scores = np.zeros((num_classes, rows.shape[1]))
        for row, (known, logs) in zip(rows, tables, strict=True):
            place = np.searchsorted(known, row).clip(max=len(known) - 1)
            scores += np.where(known[place] == row, logs[:, place], 0.0)
        return scores.argmax(0)

    return read


def _reading(
    view: str, trial: Trial, reader: str, answers: Answers, heard: Sequence[Heard], num_readers: int
) -> Reading:
    """Balanced accuracies of a reader's answers, with intervals over voices."""
    rates, scored = [], []
    for given in (answers.true, answers.shuffled):
        numbers = sorted(given)
        labels = [trial.labels[number] for number in numbers]
        voices = np.repeat([heard[number].voice for number in numbers], [len(own) for own in labels])
        right = np.concatenate([*labels, np.empty(0, int)])
        said = np.concatenate([*(given[number] for number in numbers), np.empty(0, int)])
        asked = right != UNUSED
        rate = balanced_accuracy(
            right[asked],
            said[asked],
            voices[asked].tolist(),
            confidence=1 - (1 - CONFIDENCE) / num_readers,
            num_items=len(numbers),
        )
        rates.append(rate)
        scored.append(_scored(numbers, labels, [given[number] for number in numbers]))
    num_voices = len({heard[number].voice for number in answers.true})
    return Reading(
        trial.factor,
        view,
        reader,
        trial.num_classes,
        num_voices,
        accuracy=rates[0],
        shuffled=rates[1],
        scored=scored[0],
        scored_shuffled=scored[1],
    )


def _scored(numbers: Sequence[int], labels: Sequence[np.ndarray], said: Sequence[np.ndarray]) -> Scored:
    """Utterances with the right answers in them, by classes [1] or [T] each, so weighed that no class outweighs."""
    asked = np.concatenate([*labels, np.empty(0, int)])
    classes, counts = np.unique(asked[asked != UNUSED], return_counts=True)
    if not len(classes):
        return Scored()
    weight = np.zeros(classes.max() + 1)
    weight[classes] = counts.sum() / (len(classes) * counts)
    hits, weights = [], []
    for own, given in zip(labels, said, strict=True):
        each = np.where(own == UNUSED, 0.0, weight[own.clip(0)])
        hits.append(float(each[own == given].sum()))
        weights.append(float(each.sum()))
    return Scored(tuple(numbers), tuple(hits), tuple(weights))
