"""Who is asked what, on which voices: classes of utterances and frames, rounds of training and test, shuffled labels.

Every probe but that of the speaker is tested on voices that it did not see: the voices are dealt into three hands, and
the utterances of one hand are read by probes that were trained without it.
Letters: N utterances, T frames, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from omnikit.evaluation.hearing import STYLE_FACTORS, Heard
from omnikit.evaluation.views import View
from omnikit.metrics.phonetics import NO_PHONE
from omnikit.metrics.sequence_probes import UNUSED

NUM_HANDS = 3
Round = tuple[np.ndarray, np.ndarray]
"""Numbers of the utterances that teach, and of those that are tested."""


@dataclass(frozen=True)
class Trial:
    """One factor as classes of all utterances, training ones first: an array [1] each, or [T] for phones.

    A class of -1 is not asked. `of_voice` says that the class belongs to the voice, so that the control shuffles
    voices, not utterances.
    """

    factor: str
    num_classes: int
    labels: Sequence[np.ndarray]
    rounds: Sequence[Round]
    of_voice: bool = False


def deal_voices(heard: Sequence[Heard], seed: int) -> dict[str, int]:
    """Voice → hand, as many voices of each gender in every hand as can be."""
    genders = {item.voice: item.labels.get("gender", "") for item in heard}
    rng = np.random.default_rng([seed, 77])
    hands: dict[str, int] = {}
    for gender in sorted(set(genders.values())):
        for name in rng.permutation(sorted(voice for voice, own in genders.items() if own == gender)):
            hands[str(name)] = len(hands) % NUM_HANDS
    return hands


def utterance_trials(train: Sequence[Heard], test: Sequence[Heard], seed: int) -> Iterator[Trial]:
    """The trials of everything that is said of a whole utterance."""
    heard, num = [*train, *test], len(train)
    for factor in ("speaker", *STYLE_FACTORS):
        values = [item.voice if factor == "speaker" else item.labels.get(factor) for item in heard]
        shared = sorted({value for value in values[:num] if value} & {value for value in values[num:] if value})
        index = {value: place for place, value in enumerate(shared)}
        labels = [np.array([index.get(value or "", UNUSED)]) for value in values]
        of_all = [(np.arange(num), np.arange(num, len(heard)))]
        rounds = of_all if factor == "speaker" else _rounds(train, test, seed)
        yield Trial(factor, len(shared), labels, _usable(rounds, labels), of_voice=factor == "gender")


def phone_trial(view: View, train: Sequence[Heard], test: Sequence[Heard], seed: int) -> Trial:
    """The trial of phones, frame by frame of a view; phones that either set lacks are not asked."""
    heard, num = [*train, *test], len(train)
    phones = [
        item.phones(len(frames), rate) for item, frames, rate in zip(heard, view.frames, view.frame_rates, strict=True)
    ]
    known, asked = (np.unique(np.concatenate([*part, np.empty(0, int)])) for part in (phones[:num], phones[num:]))
    shared = np.intersect1d(known, asked)
    shared = shared[shared != NO_PHONE]
    index = np.full(max(shared, default=0) + 1, UNUSED)
    index[shared] = np.arange(len(shared))
    labels = [np.where(np.isin(own, shared), index[own.clip(0, len(index) - 1)], UNUSED) for own in phones]
    return Trial("phone", len(shared), labels, _usable(_rounds(train, test, seed), labels))


def _rounds(train: Sequence[Heard], test: Sequence[Heard], seed: int) -> list[Round]:
    """For every hand: the training utterances of other hands' voices, and the test utterances of its own."""
    hands = deal_voices([*train, *test], seed)
    own = np.array([hands[item.voice] for item in [*train, *test]])
    teaches = np.arange(len(own)) < len(train)
    return [(np.flatnonzero(teaches & (own != hand)), np.flatnonzero(~teaches & (own == hand))) for hand in set(own)]


def _usable(rounds: Sequence[Round], labels: Sequence[np.ndarray]) -> list[Round]:
    """The rounds without utterances that are not asked, where two classes are left to learn and something to test."""
    asked = np.array([bool((own != UNUSED).any()) for own in labels], dtype=bool)
    kept = [(train[asked[train]], test[asked[test]]) for train, test in rounds]
    return [
        (train, test)
        for train, test in kept
        if len(test) and len(train) and len(np.setdiff1d(np.concatenate([labels[n] for n in train]), UNUSED)) > 1
    ]


def shuffled_labels(
    trial: Trial, voices: Sequence[str], train: np.ndarray, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """Labels of the training utterances in a random order: of utterances, of whole voices, or of frames."""
    if trial.factor == "phone":
        flat = np.concatenate([trial.labels[number] for number in train])
        used = flat != UNUSED
        flat[used] = rng.permutation(flat[used])
        ends = np.cumsum([len(trial.labels[number]) for number in train])[:-1]
        return dict(zip(train.tolist(), np.split(flat, ends), strict=True))
    keys: list[str] | list[int] = [voices[number] for number in train] if trial.of_voice else train.tolist()
    labels = dict(zip(keys, (int(trial.labels[number][0]) for number in train), strict=True))
    new = evenly_shuffled(np.array(list(labels.values())), rng)
    drawn = dict(zip(labels, new.tolist(), strict=True))
    return {int(number): np.array([drawn[key]]) for number, key in zip(train, keys, strict=True)}


def evenly_shuffled(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same labels [N] in another order, in which every true class gets its even share of every label.

    A plain shuffle of few voices may resemble the truth by luck; this one tells nothing of it.
    """
    places = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    turns = np.concatenate(
        [(np.arange(count) + rng.random()) / count for count in np.unique(labels, return_counts=True)[1]]
    )  # each label spread evenly over [0, 1), to be dealt to the classes in turn
    shuffled = np.empty_like(labels)
    shuffled[places] = np.sort(labels)[np.argsort(turns, kind="stable")]
    return shuffled
