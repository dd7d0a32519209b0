"""The listening part of an ablation report: the same prompt from every arm, equally loud, and a blind A/B/X test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnikit.data.media import read_audio
from omnikit.errors import MediaError
from omnikit.metrics.loudness import loudness
from omnikit.report.ablation_folder import Sweep, Take
from omnikit.report.parts import escape, player
from omnikit.serving.measure import Sound

TARGET_LUFS = -23.0
PEAK = 0.98
MAX_BYTES = 12_000_000
"""Of 16-bit samples inside the page."""


@dataclass(frozen=True)
class Spoken:
    """What an arm said to a prompt, with the seed that said it."""

    arm: str
    seed: int
    wave: np.ndarray
    sample_rate: int


@dataclass(frozen=True)
class Prompt:
    """A prompt with what every arm made of it, all equally loud."""

    name: str
    text: str
    spoken: tuple[Spoken, ...]


def prompts(sweep: Sweep) -> tuple[list[Prompt], list[str]]:
    """Every prompt in order, from the first finished seed of every arm that has it, and notes on what is left out."""
    found: dict[str, list[tuple[str, int, Take]]] = {}
    for arm in sweep.arms:
        taken = set()
        for cell in sweep.cells_of(arm.name):
            for take in cell.takes if cell.done else ():
                if take.prompt not in taken:
                    found.setdefault(take.prompt, []).append((arm.name, cell.seed, take))
                    taken.add(take.prompt)
    notes: list[str] = []
    listed: list[Prompt] = []
    size = 0
    for name, takes in found.items():
        spoken = []
        for arm_name, seed, take in takes:
            try:
                wave, rate = read_audio(take.file)
            except MediaError as error:
                notes.append(f"{arm_name}, seed {seed}: {error}")
                continue
            spoken.append(Spoken(arm_name, seed, wave, rate))
        size += sum(2 * len(item.wave) for item in spoken)
        if size > MAX_BYTES:
            notes.append(
                f"listening: {len(listed)} of {len(found)} prompts are in the page; more would make it larger than "
                f"{MAX_BYTES / 1e6:.0f} MB of sound"
            )
            break
        if spoken:
            listed.append(Prompt(name, takes[0][2].text, tuple(equally_loud(spoken))))
    return listed, notes


def equally_loud(spoken: list[Spoken]) -> list[Spoken]:
    """The same sounds at -23 LUFS, or at the loudest level below it at which none of them clips."""
    levels = [loudness(item.wave, item.sample_rate) for item in spoken]
    room = [
        level + 20 * math.log10(PEAK / float(np.abs(item.wave).max()))
        for item, level in zip(spoken, levels, strict=True)
        if math.isfinite(level)
    ]
    target = min([TARGET_LUFS, *room])
    return [
        Spoken(item.arm, item.seed, item.wave * 10 ** ((target - level) / 20), item.sample_rate)
        if math.isfinite(level)
        else item
        for item, level in zip(spoken, levels, strict=True)
    ]


def listening_html(listed: Sequence[Prompt], arms: Sequence[str]) -> str:
    """Players for every prompt and arm; the page's script makes decks of them and adds the blind test."""
    cards = "".join(_card(number, prompt, arms) for number, prompt in enumerate(listed, start=1))
    return cards + (_blind_test(arms) if len(arms) > 1 else "")


def _card(number: int, prompt: Prompt, arms: Sequence[str]) -> str:
    by_arm = {item.arm: item for item in prompt.spoken}
    takes = "".join(
        f'<div class="take" data-arm="{escape(arm)}"><p class="label">{escape(arm)}, seed {by_arm[arm].seed}</p>'
        f"{_player(by_arm[arm], number)}</div>"
        if arm in by_arm
        else f'<div class="take"><p class="label">{escape(arm)}</p><p class="no-sound">no sound</p></div>'
        for arm in arms
    )
    title = f"“{escape(prompt.text)}”" if prompt.text else escape(prompt.name)
    return (
        f'<article class="card prompt" data-prompt="{number}"><h3>{title}</h3>'
        f'<div class="deck" role="group" aria-label="Prompt {number}: one play-head for all arms" hidden></div>'
        f'<div class="takes">{takes}</div></article>'
    )


def _player(item: Spoken, number: int) -> str:
    sound = Sound(item.wave, item.sample_rate, np.zeros(0), math.nan)
    return player(sound, f"prompt {number}, {item.arm}")


def _blind_test(arms: Sequence[str]) -> str:
    options = "".join(f'<option value="{escape(arm)}">{escape(arm)}</option>' for arm in arms)
    second = options.replace(f'<option value="{escape(arms[1])}"', f'<option selected value="{escape(arms[1])}"', 1)
    return f"""
<article class="card" id="abx" hidden><h3>Blind test: is X the one or the other?</h3>
<p>In every trial X is one of the two arms, drawn anew; so is the prompt. Which arm is called A is hidden until the end.
The number of trials is fixed before, so that one cannot stop when it looks good. p is the chance of so many right
answers, or more, by guessing (binomial, one-sided).</p>
<form class="controls"><label>one arm <select name="first">{options}</select></label>
<label>the other <select name="second">{second}</select></label>
<label>trials <select name="trials"><option>8</option><option selected>12</option><option>16</option><option>24</option>
</select></label> <button type="submit">Start</button></form>
<div class="deck" role="group" aria-label="Blind test" hidden></div>
<p class="status" role="status" aria-live="polite"></p></article>"""
