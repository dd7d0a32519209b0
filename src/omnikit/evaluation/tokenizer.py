"""Judging a tokenizer: what its units keep (phones), cost (bits), and must not keep (who speaks)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from omnikit.evaluation.figures import Figure, at_least, at_most, mean, percent, pick
from omnikit.evaluation.material import chosen, ear_rate, phones_of, read_phones, units_of, waves_of
from omnikit.metrics.codebooks import unit_use
from omnikit.metrics.probes import NUM_SHUFFLES, Examples, balanced, pooled, probe_hits, shuffled_hits
from omnikit.metrics.rates import error_rate, share
from omnikit.nn.spectrogram import Spectrogram
from omnikit.system import System
from omnikit.types import Units

PART = "tokenizer"
MORE_ITEMS = 4
"""Codebooks and probes look at this many times as many utterances: a vocabulary of thousands needs many units."""
PROBE_MELS = 80


def judge_tokenizer(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Phone error rates, use of the codebook, bit rate, and a gender probe with its controls."""
    figures = []
    for name, voices, limit in (("speech.test", "known voices", 10.0), ("speech.test_voice", "unseen voices", 15.0)):
        audios = [record["messages"][0]["audio"] for record in chosen(corpus, name, num_items, seed)]
        heard = read_phones(system, waves_of(system, corpus, audios))
        rate = error_rate([phones_of(audio) for audio in audios], heard)
        how = f"{name}: phones read from the units against the synthesiser's labels"
        figures.append(percent(PART, f"phone error rate, {voices}", rate, how, at_most(limit)))
    return [*figures, *_units_figures(system, corpus, num_items, seed)]


@dataclass(frozen=True)
class Heard:
    """Utterances with their gender, waves [S] and units, one row each."""

    is_female: Sequence[bool]
    waves: Sequence[np.ndarray]
    units: Sequence[Units]

    def balanced(self, rng: np.random.Generator) -> Heard:
        """As many utterances of either gender."""
        kept = balanced(self.is_female, rng)
        return Heard(pick(self.is_female, kept), pick(self.waves, kept), pick(self.units, kept))


def _heard(system: System, corpus: Path, name: str, num_items: int, seed: int) -> Heard:
    messages = [record["messages"][0] for record in chosen(corpus, name, num_items, seed)]
    waves = waves_of(system, corpus, [message["audio"] for message in messages])
    return Heard([message["style"]["gender"] == "female" for message in messages], waves, units_of(system, waves))


def _units_figures(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    train, test = (
        _heard(system, corpus, name, MORE_ITEMS * num_items, seed) for name in ("speech.valid", "speech.test")
    )
    return [*_use_figures(test.units), *_probe_figures(system, train, test, seed)]


def _use_figures(units: Sequence[Units]) -> list[Figure]:
    rate, sizes = float(units[0].rate), units[0].sizes
    use = unit_use([row.codes[0].cpu().numpy() for row in units], sizes)
    seconds = sum(_seconds(row) for row in units)
    steps_a_second = use.num_steps / seconds
    nominal = rate * float(np.log2(sizes).sum())
    nan, num = float("nan"), len(units)
    counted = f"{use.num_steps} units of speech.test"
    low, high = use.bits_low, use.bits_high
    likely, likely_low, likely_high = (use.perplexity(bits) for bits in (use.bits, low, high))
    spent, spent_low, spent_high = (steps_a_second * bits for bits in (use.bits, low, high))
    plug_in = f"2^entropy of {counted} (plug-in: a lower bound)"
    occurring = f"entries that occur in {counted}; a count, without interval"
    return [
        Figure(PART, "codebook used", 100 * use.used, nan, nan, num, occurring, "%", at_least(60.0)),
        Figure(PART, "codebook perplexity", likely, likely_low, likely_high, num, plug_in, ""),
        Figure(PART, "bit rate, nominal", nominal, nan, nan, num, f"{rate:g} Hz × log2 of {list(sizes)}", "bit/s"),
        Figure(
            PART,
            "bit rate, entropy",
            spent,
            spent_low,
            spent_high,
            num,
            f"units a second × entropy of {counted}",
            "bit/s",
        ),
    ]


def _seconds(units: Units) -> float:
    steps = units.codes.shape[-1] if units.durations is None else int(units.durations.sum())
    return steps / float(units.rate)


def _probe_figures(system: System, train: Heard, test: Heard, seed: int) -> list[Figure]:
    rng = np.random.default_rng([seed, 1])
    train, test = train.balanced(rng), test.balanced(rng)
    hits: list[bool] = []
    mel_hits: list[bool] = []
    shuffled: list[float] = []
    if train.units and test.units:
        by_units = _unit_examples(system, train), _unit_examples(system, test)
        hits = probe_hits(*by_units).tolist()
        mel_hits = probe_hits(_mel_examples(system, train), _mel_examples(system, test)).tolist()
        shuffled = (100 * shuffled_hits(*by_units, rng)).tolist()
    setting = f"fitted on {len(train.units)} utterances of speech.valid, other texts; balanced, chance 50 %"
    how = f"logistic probe on mean and deviation of unit vectors, {setting}"
    mel_how = f"control: the same probe on mean log-mels, {setting}"
    shuffled_how = f"control: the unit probe, mean of {NUM_SHUFFLES}, {setting}"
    chance = at_most(55.0)
    return [
        percent(PART, "gender read from units", share(hits), how, chance),
        percent(PART, "gender read from mels", share(mel_hits), mel_how, at_least(90.0)),
        mean(PART, "gender, shuffled labels", shuffled, shuffled_how, "%", chance),
    ]


def _unit_examples(system: System, heard: Heard) -> Examples:
    tokenizer = system.part("tokenizer")
    rows = [tokenizer.embed(row).features[0].detach().cpu().numpy() for row in heard.units]  # N times [T, D]
    return Examples(np.stack([pooled(row) for row in rows]), np.array(heard.is_female))


def _mel_examples(system: System, heard: Heard) -> Examples:
    rate = ear_rate(system)
    mel = Spectrogram(rate, rate // 16, rate // 100, PROBE_MELS, 0.0, rate / 2)
    means = []
    for wave in heard.waves:
        magnitude, _ = mel.linear(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))  # [1, F, T]
        means.append(mel.log_mel(magnitude)[0].mean(dim=-1).numpy())  # [M]
    return Examples(np.stack(means), np.array(heard.is_female))
