"""Where the pieces of a stream meet, and whether the spectrum changes more there than elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omnikit.detokenizers.uvits import UVITS
from omnikit.detokenizers.uvits_voice import Window
from omnikit.types import Style, Units

_WINDOW, _STEP, _FAR = 256, 64, 512


def ends(pieces: Sequence[Tensor]) -> Tensor:
    """The samples at which pieces [S] of sound meet."""
    return torch.tensor([len(piece) for piece in pieces]).cumsum(0)[:-1]


def ends_of_blocks(model: UVITS, units: Units, style: Style, generator: torch.Generator) -> Tensor:
    """The samples at which blocks of arriving units meet, each read in a `Window()` of its own."""
    voice = model.voice()
    g = None if style.vector is None else style.vector[..., None]
    priors = voice._priors(iter([units.codes]), voice.noise(generator), g, Window())
    return torch.tensor([int(prior.durations.sum()) for prior in priors]).cumsum(0)[:-1] * model.hop_size


def mean_rank(wave: Tensor, borders: Tensor) -> float:
    """The mean place, from 0 to 1, of the relative spectral flux at `borders` among that far from all of them.

    Half where borders are as any other place. Flux is between two windows a quarter apart, whose middle is the border.
    """
    places = torch.arange(_FAR, len(wave) - _FAR, _STEP)
    met = borders[(borders >= places[0]) & (borders <= places[-1])]
    elsewhere = _flux(wave, places[(places[:, None] - borders).abs().min(1).values >= _FAR])
    return float((elsewhere[None] < _flux(wave, met)[:, None]).float().mean())


def _flux(wave: Tensor, places: Tensor) -> Tensor:
    shift = (_WINDOW + _STEP) // 2
    windows = wave.unfold(0, _WINDOW, 1)  # [S - W + 1, W]
    before, after = (
        torch.fft.rfft(windows[places + by] * torch.hann_window(_WINDOW)).abs() for by in (-shift, _STEP - shift)
    )
    return (after - before).abs().sum(1) / (before.sum(1) + after.sum(1) + 1e-2)
