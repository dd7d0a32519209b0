"""Control: the same units spoken in every style, held against the style's rule, and what else moved.

Every style that differs from the default in one factor is spoken beside the default of the same speaker, with the same
noise; all figures are differences of such pairs. The rule is that of the corpus (`data.prosody.style_rule`), and for
`energy` the step of level that makes a recording low or high (`data.style_recordings`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from omnikit.data import prosody
from omnikit.data.style_recordings import ENERGY_STEP_DB
from omnikit.evaluation.detokenizer import DEAF
from omnikit.evaluation.figures import (
    Figure,
    Items,
    Names,
    Target,
    at_least,
    at_most,
    percent,
    pick,
    unmeasured,
    with_groups,
)
from omnikit.evaluation.material import Record, chosen, ear_rate, phones_of, read_phones, spoken, units_of, waves_of
from omnikit.evaluation.references import Shelf, how_shown, shows_style
from omnikit.metrics.clustered import clustered_ratio
from omnikit.metrics.prosody import semitones
from omnikit.metrics.rates import Rate, edit_distance, ratio
from omnikit.metrics.voice import Voice, voice_of
from omnikit.system import System

PART = "control"
FILE = "voice.test"
TEXTS_SHARE = 8
"""Of `num_items` texts, every eighth is spoken in all styles."""
SPEAKER = ("speaker", "gender")
"""The factors that say who speaks: pairs never differ in them."""
ENERGY_DB = {"low": -ENERGY_STEP_DB, "high": ENERGY_STEP_DB}
"""The level against the speaker's usual one from which a recording has that energy."""


@dataclass(frozen=True)
class Take:
    """One text in one style: its measures, and its phone errors of `num_phones`."""

    voice: Voice
    errors: int
    num_phones: int


@dataclass(frozen=True)
class Pair:
    """The text of record `text` in a style that differs from the default by `change` (factor=value), and in it."""

    text: str
    change: str
    labels: Mapping[str, str]
    styled: Take
    default: Take

    @property
    def id(self) -> str:
        """The record, who speaks, and the change: what tells this pair from all others."""
        return " ".join(filter(None, (self.text, speaker_of(self.labels), self.change)))

    @property
    def rule(self) -> Mapping[str, float]:
        """What the corpus asks of this change, by dimension: duration in %, F0 in semitones, level in dB."""
        factor, _, value = self.change.partition("=")
        known = value in prosody.FACTORS.get(factor, ())
        rule = prosody.style_rule({factor: value} if known else {})
        return {
            "duration": 100 * (rule.duration_factor - 1),
            "F0": rule.semitones,
            "level": 20 * math.log10(rule.gain) + (ENERGY_DB.get(value, 0.0) if factor == "energy" else 0.0),
        }

    @property
    def moved(self) -> Mapping[str, float]:
        """What the change did, by dimension, in the units of `rule`; also the tilt in dB an octave. NaN: no measure."""
        one, other = self.styled.voice, self.default.voice
        return {
            "duration": 100 * (one.seconds / other.seconds - 1),
            "F0": semitones(one.f0_hz, other.f0_hz),
            "level": one.level_db - other.level_db,
            "tilt": one.tilt - other.tilt,
        }


@dataclass(frozen=True)
class Dimension:
    """A measured dimension: its unit, and how near to the rule a style should come."""

    unit: str
    near: Target | None = None


DIMENSIONS = {
    "duration": Dimension("%", at_most(10.0)),
    "F0": Dimension("semitones", at_most(1.5)),
    "level": Dimension("dB", at_most(2.0)),
    "tilt": Dimension("dB/octave"),
}


def judge_control(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Whether styles move the voice as the rule says, what else they move, and whether the words stay."""
    records = chosen(corpus, FILE, math.ceil(num_items / TEXTS_SHARE), seed)
    found = pairs(system, corpus, records, seed)
    if not found:
        component = system.plan.nodes["style"].component
        return [unmeasured(PART, "everything", f"not applicable: {component} has no style but its default")]
    shown = how_shown(system)
    return [
        figure if figure.group else replace(figure, how=f"{figure.how}{shown}") for figure in control_figures(found)
    ]


def default_styles(factors: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """The default style with every combination of the factors that say who speaks (without any there is one)."""
    default = {name: values[0] for name, values in factors.items()}
    who = [name for name in SPEAKER if name in factors]
    values = itertools.product(*(factors[name] for name in who))
    return [{**default, **dict(zip(who, own, strict=True))} for own in values]


def speaker_of(labels: Mapping[str, str]) -> str:
    """Who speaks in a style, in words; empty where its labels do not say."""
    return " ".join(labels[name] for name in SPEAKER if name in labels)


def changes(factors: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Every (factor, value) that is no default and says nothing about the speaker."""
    for name, values in factors.items():
        if name not in SPEAKER:
            yield from ((name, value) for value in values[1:])


@dataclass(frozen=True)
class Manner:
    """A way to speak: its labels, their `change` of the default (factor=value, or empty), a recording that shows it."""

    labels: dict[str, str]
    change: str
    reference: Path | None


class Manners:
    """What a voice is asked for: the default style of every speaker, and every single change of it.

    A style module that knows no labels is shown recordings in the styles of the corpus.
    """

    def __init__(self, system: System, corpus: Path) -> None:
        module = system.part("style")
        self._shelf = Shelf(corpus) if shows_style(system) else None
        self._factors: Mapping[str, Sequence[str]] = module.factors if self._shelf is None else self._shelf.factors
        self._defaults = default_styles(self._factors)
        if all(name in self._factors for name in SPEAKER):  # a speaker has one gender: that of the recordings
            self._defaults = [own for own in self._defaults if module.count_of(own) != 0] or self._defaults

    def of(self, record: Record, seed: int) -> list[list[Manner]]:
        """A list for every speaker, the default style first. What no recording of another text shows is left out; where
        that is everything, there is one list with the style module's own default.
        """
        found = []
        for default in self._defaults:
            named = [
                ("", default),
                *((f"{name}={value}", {**default, name: value}) for name, value in changes(self._factors)),
            ]
            manners = [Manner(labels, change, self._shown(labels, record, seed)) for change, labels in named]
            if self._shelf is not None:
                manners = [manner for manner in manners if manner.reference is not None]
            if manners and not manners[0].change:
                found.append(manners)
        return found or [[Manner({}, "", None)]]

    def _shown(self, labels: Mapping[str, str], record: Record, seed: int) -> Path | None:
        return None if self._shelf is None else self._shelf.another(labels, record, seed)


def pairs(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[Pair]:
    """Speak the canonical units of `records` in the default style of every speaker and with every single change."""
    wanted = Manners(system, corpus)
    audios = [record["messages"][0]["audio"] for record in records]
    units = units_of(system, waves_of(system, corpus, audios))
    found = []
    for record, audio, row in zip(records, audios, units, strict=True):
        for manners in wanted.of(record, seed):
            waves = [spoken(system, row, manner.labels, seed, manner.reference) for manner in manners]
            default, *takes = _takes(system, phones_of(audio), waves)
            found += [
                Pair(record["id"], manner.change, manner.labels, take, default)
                for manner, take in zip(manners[1:], takes, strict=True)
            ]
    return found


def _takes(system: System, phones: Sequence[int], waves: Sequence[np.ndarray]) -> list[Take]:
    rate = ear_rate(system)
    return [
        Take(voice_of(wave, rate), edit_distance(phones, heard), len(phones))
        for wave, heard in zip(waves, read_phones(system, waves), strict=True)
    ]


def control_figures(found: Sequence[Pair]) -> list[Figure]:
    """The figures of pairs: directions, distances to the rule, side effects, words; each also by change."""
    figures: list[Figure] = []
    asked = {name: [pair for pair in found if pair.rule.get(name)] for name in DIMENSIONS}
    spared = {name: [pair for pair in found if not pair.rule.get(name)] for name in DIMENSIONS}
    for name, dimension in DIMENSIONS.items():
        figures += _by_change(asked[name], lambda own, name=name: _directions(own, name))
        figures += _by_change(asked[name], lambda own, name=name, dimension=dimension: _distance(own, name, dimension))
        figures += _by_change(spared[name], lambda own, name=name, dimension=dimension: _leak(own, name, dimension))
    figures += _by_change(found, _phone_error)
    figures += _by_change(found, _phone_gap)
    for name, dimension in DIMENSIONS.items():  # signed, by change only: a mean over all changes would say nothing
        signed = _by_change(found, lambda own, name=name, dimension=dimension: _signed(own, name, dimension))
        figures += [figure for figure in signed if figure.group]
    return figures


def _by_change(found: Sequence[Pair], figure_of: Callable[[Sequence[Pair]], Figure]) -> list[Figure]:
    if not found:
        return []
    labels = [{"change": pair.change} for pair in found]
    figures = with_groups(lambda indices: figure_of(pick(found, indices)), labels, ("change",))
    return [replace(figure, group=figure.group.removeprefix("change=")) for figure in figures]


def _items(own: Sequence[Pair], tops: Sequence[float], bottoms: Sequence[float] | None = None) -> Items:
    """Sums of pairs; the styles of one text go together."""
    return Names([pair.id for pair in own], [pair.text for pair in own]).items(tops, bottoms)


def _directions(own: Sequence[Pair], name: str) -> Figure:
    items = _items(own, [float(pair.moved[name] * pair.rule[name] > 0) for pair in own])
    texts = list(dict.fromkeys(items.clusters))
    clusters = [str(texts.index(text)) for text in items.clusters]
    rate = clustered_ratio(np.array(items.errors), np.array(items.lengths), clusters, num_items=len(texts))
    how = "styles with a rule for it, against the default of the same speaker and units; what has no measure is a miss"
    return percent(PART, f"{name} moves in the declared direction", rate, how, at_least(95.0), items=items)


def _distance(own: Sequence[Pair], name: str, dimension: Dimension) -> Figure:
    apart = [abs(pair.moved[name] - pair.rule[name]) for pair in own]
    how = "mean distance of what moved from the rule"
    return _mean(own, f"{name} off the rule", apart, how, dimension.unit, dimension.near)


def _leak(own: Sequence[Pair], name: str, dimension: Dimension) -> Figure:
    how = "mean distance moved by styles that have no rule for it"
    return _mean(own, f"{name} moved unasked", [abs(pair.moved[name]) for pair in own], how, dimension.unit)


def _signed(own: Sequence[Pair], name: str, dimension: Dimension) -> Figure:
    rule = own[0].rule.get(name, 0.0)
    how = f"the rule says {rule:+.1f}" if rule else "no rule"
    return _mean(own, f"{name} moved", [pair.moved[name] for pair in own], how, dimension.unit)


def _phone_error(own: Sequence[Pair]) -> Figure:
    items = _items(own, [pair.styled.errors for pair in own], [pair.styled.num_phones for pair in own])
    how = f"{FILE}: canonical units → speech → phones"
    return percent(PART, "phone error, changed styles", _over_texts(items), how, items=items)


def _phone_gap(own: Sequence[Pair]) -> Figure:
    worse = [pair.styled.errors - pair.default.errors for pair in own]
    items = _items(own, worse, [pair.styled.num_phones for pair in own])
    how = "changed minus default style, same units, in points"
    figure = percent(PART, "phone error above the default style", _over_texts(items), how, at_most(2.0), items=items)
    default = sum(pair.default.errors for pair in own) / max(1, sum(pair.default.num_phones for pair in own))
    if 100 * default <= DEAF:
        return figure
    nan, how = float("nan"), f"{how}; over {DEAF:g} % are lost in the default style"
    return replace(figure, value=nan, low=nan, high=nan, how=how, items=None)


def _mean(
    own: Sequence[Pair], name: str, values: Sequence[float], how: str, unit: str, target: Target | None = None
) -> Figure:
    """The mean of what is known of one value a pair; without any measure it is NaN."""
    share_of = 100.0 if unit == "%" else 1.0
    rate = _over_texts(_items(own, values))
    items = _items(own, [value / share_of for value in values])
    return Figure(PART, name, rate.value, rate.low, rate.high, rate.num_items, how, unit, target, items=items)


def _over_texts(items: Items) -> Rate:
    """Σ errors / Σ lengths, with an interval over texts."""
    texts = list(dict.fromkeys(items.clusters))
    index = [texts.index(text) for text in items.clusters]
    top, bottom = (np.bincount(index, part, len(texts)) for part in (items.errors, items.lengths))
    return ratio(top.tolist(), bottom.tolist())
