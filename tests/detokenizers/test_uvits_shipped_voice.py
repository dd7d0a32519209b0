"""Streams of the voice in the box, on units that it was trained to speak: how far from offline, and no seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

import omnikit
from detokenizers.seams import ends, ends_of_blocks, mean_rank
from omnikit.detokenizers.uvits import UVITS
from omnikit.detokenizers.uvits_voice import Window
from omnikit.metrics.cepstra import mel_cepstra, warped_distance
from omnikit.types import Style, Units

TEXT = "yes, there are two blue circles and a green square in the picture."
MOST_DB = 2.0
"""What docs/voice.md declares of arriving units: their mel-cepstral distance from what is made of all units at once."""


@dataclass(frozen=True)
class Spoken:
    """An utterance and the voice that speaks it."""

    voice: UVITS
    units: Units
    style: Style

    def one_by_one(self) -> Iterator[Units]:
        """The units as they arrive."""
        return self.chunks(1)

    def chunks(self, size: int) -> Iterator[Units]:
        for codes in self.units.codes.split(size, -1):
            yield replace(self.units, codes=codes, lengths=torch.tensor([codes.shape[-1]]))

    def whole(self, window: Window | None = None, seed: int = 0) -> Tensor:
        """The sound [S] of offline decoding."""
        return self.voice.voice().decode(self.units, self.style, draws(seed), window=window).wave[0]

    def pieces(self, units: Units | Iterator[Units]) -> list[Tensor]:
        return [piece.wave[0] for piece in self.voice.stream(units, self.style, draws())]


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def spoken() -> Spoken:
    system = omnikit.load("tiny")
    units = system.say(TEXT).turn.units
    assert units is not None and units.codes.shape[-1] > 2 * Window().lookahead  # more than one window
    return Spoken(system.part("detokenizer"), units, system.style_of({}))


def test_streams_are_offline_given_the_declared_lookahead(spoken: Spoken) -> None:
    known, arriving = (torch.cat(spoken.pieces(units)) for units in (spoken.units, spoken.one_by_one()))
    torch.testing.assert_close(known, spoken.whole(), atol=1e-4, rtol=0)
    torch.testing.assert_close(arriving, spoken.whole(Window()), atol=1e-4, rtol=0)


def test_arriving_units_sound_nearly_as_all_of_them_at_once(spoken: Spoken) -> None:
    """Samples differ, as phases add up what differs in pitch; what is heard does not."""
    rate, offline = spoken.voice.sample_rate, spoken.whole()
    natural, active = mel_cepstra(offline.numpy(), rate)
    arriving = torch.cat(spoken.pieces(spoken.one_by_one()))
    assert abs(len(arriving) / len(offline) - 1) < 0.02
    assert warped_distance(natural, mel_cepstra(arriving.numpy(), rate)[0], active) < MOST_DB
    other = spoken.whole(seed=1).numpy()[::-1].copy()
    assert warped_distance(natural, mel_cepstra(other, rate)[0], active) > 2 * MOST_DB  # said backwards


@pytest.mark.parametrize("given", [lambda spoken: spoken.units, Spoken.one_by_one], ids=["known", "arriving"])
def test_borders_are_no_seams(spoken: Spoken, given: Callable[[Spoken], Units | Iterator[Units]]) -> None:
    pieces = spoken.pieces(given(spoken))
    borders = ends(pieces)
    if given is Spoken.one_by_one:
        borders = torch.cat([borders, ends_of_blocks(spoken.voice, spoken.units, spoken.style, draws())])
    assert len(borders) >= 5
    assert mean_rank(torch.cat(pieces), borders) < 0.65


def test_pieces_that_know_nothing_of_each_other_have_seams(spoken: Spoken) -> None:
    alone = [
        spoken.voice.decode(chunk, spoken.style, draws(seed)).wave[0] for seed, chunk in enumerate(spoken.chunks(5))
    ]
    assert mean_rank(torch.cat(alone), ends(alone)) > 0.75
