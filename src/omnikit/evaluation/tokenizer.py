"""Judging a tokenizer: what its units keep (phones), cost (bits), and must not keep (who speaks)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omnikit.evaluation.figures import Figure, Items, Names, Target, at_least, at_most, percent, summed, unmeasured
from omnikit.evaluation.hearing import hear
from omnikit.evaluation.material import by_voice, chosen, phones_of, read_phones, waves_of, why_no_phones
from omnikit.evaluation.probing import Scored, read_factors, strongest
from omnikit.evaluation.unit_figures import PART, use_figures
from omnikit.evaluation.views import MELS, UNITS, views_of
from omnikit.metrics.rates import Rate, edit_distance
from omnikit.system import System

MORE_ITEMS = 4
"""Codebooks and probes look at this many times as many utterances: a vocabulary of thousands needs many units."""
UNREAD = Rate(np.nan, np.nan, np.nan, 0)


def judge_tokenizer(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Phone error rates, use of the codebook, bit rate, and a gender probe with its controls."""
    figures: list[Figure] = []
    why = why_no_phones(system)
    for name, voices, limit in (("speech.test", "known voices", 10.0), ("speech.test_voice", "unseen voices", 15.0)):
        if why:
            figures.append(unmeasured(PART, f"phone error rate, {voices}", why, at_most(limit)))
            continue
        records = chosen(corpus, name, num_items, seed)
        audios = [record["messages"][0]["audio"] for record in records]
        heard = read_phones(system, waves_of(system, corpus, audios))
        labels = [phones_of(audio) for audio in audios]
        errors = [edit_distance(own, read) for own, read in zip(labels, heard, strict=True)]
        lengths = [len(own) for own in labels]
        how = f"{name}: phones read from the units against the synthesiser's labels"
        items = by_voice(records).items(errors, lengths)
        figures.append(summed(PART, f"phone error rate, {voices}", items, how, at_most(limit)))
    return [*figures, *_units_figures(system, corpus, num_items, seed)]


def _units_figures(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Use of the codebook, and the gender readings of `omnikit probe`."""
    teaching, asked = (chosen(corpus, name, MORE_ITEMS * num_items, seed) for name in ("speech.valid", "speech.test"))
    train, test = hear(system, corpus, teaching), hear(system, corpus, asked)
    views = [view for view in views_of(train, test) if view.name in (UNITS, MELS)]
    readings = read_factors(train, test, views, seed, factors=("gender",))
    units, mels = (strongest(readings, "gender", view) for view in (UNITS, MELS))
    setting = f"fitted on {len(train)} utterances of speech.valid, other texts and voices; balanced, chance 50 %"
    names = by_voice(asked)

    def gender(name: str, rate: Rate, scored: Scored, how: str, target: Target) -> Figure:
        return percent(PART, name, rate, how, target, items=_items(names, scored, len(train)))

    figures = use_figures(test, at_least(60.0))
    for name, reading, how, target in (
        ("gender read from units", units, f"strongest probe of units, {setting}", at_most(55.0)),
        ("gender read from mels", mels, f"control: strongest probe of log-mels, {setting}", at_least(90.0)),
    ):
        if reading is None:  # the utterances do not have both
            figures.append(percent(PART, name, UNREAD, how, target))
            continue
        figures.append(gender(name, reading.accuracy, reading.scored, f"{how}; reader: {reading.reader}", target))
    name, how = "gender, shuffled labels", f"control: the unit probe, {setting}"
    if units is None:
        return [*figures, percent(PART, name, UNREAD, how, at_most(55.0))]
    return [*figures, gender(name, units.shuffled, units.scored_shuffled, how, at_most(55.0))]


def _items(names: Names, scored: Scored, num_train: int) -> Items | None:
    """The right answers of a probe by test utterance, whose numbers begin behind those of the training ones."""
    if not scored.numbers:
        return None
    return names.items(scored.hits, scored.weights, [number - num_train for number in scored.numbers])
