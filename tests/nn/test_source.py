"""A source and the head that filters it: the pitch that is asked for, whatever the weights; pieces fit together."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from omnikit.metrics.prosody import median_pitch
from omnikit.nn.source import Clock, Source, at_borders, pulses
from omnikit.nn.source_head import SourceHead, SourceStage, hz_of
from omnikit.nn.streaming import Stage

RATE, HOP = 16_000, 128


def head(style_dim: int = 0) -> SourceHead:
    torch.manual_seed(0)
    made = SourceHead(8, 16, 24, 2, 1024, HOP, style_dim, RATE).eval()
    torch.nn.init.normal_(made.pitch.proj.weight, std=0.3)  # a pitch that moves
    return made


def course_of(hz: Tensor, voicing: float = 1.0) -> Tensor:
    """The course of frequencies hz [1, T]."""
    ends = torch.cat([at_borders(hz), torch.full((1, 2, hz.shape[1]), voicing)], 1)
    return Clock(RATE, HOP)(ends)


def fed(stage: Stage, z: Tensor, sizes: list[int]) -> Tensor:
    pieces = z.split(sizes, -1)
    return torch.cat([stage(piece, index == len(pieces) - 1) for index, piece in enumerate(pieces)], -1)


@pytest.mark.parametrize("hz", [61.0, 103.0, 220.0, 499.0, 4000.0])
def test_pulses_are_the_sum_of_their_harmonics(hz: float) -> None:
    turns = torch.cat([torch.linspace(-2, 3, 997), torch.tensor([0.0, 1.0, 1e-7, 0.5])])
    numbers = torch.arange(1, math.floor(RATE / 2 / hz - 1) + 2)[:, None].double()
    share = RATE / 2 / hz - 1
    loud = torch.ones_like(numbers)
    loud[-1] = share - math.floor(share)
    told = (loud * (2 * torch.pi * numbers * turns.double()).cos()).sum(0) * math.sqrt(2 / share)
    found = pulses(turns, torch.full_like(turns, hz), RATE)
    torch.testing.assert_close(found.double(), told, atol=2e-3, rtol=1e-4)


def test_a_gliding_pitch_makes_no_click() -> None:
    """Where the number of harmonics changes, and at borders of frames, samples are as near as their neighbours."""
    wave, _ = Source(RATE, HOP)(course_of(torch.linspace(3000, 3900, 40)[None]))
    bend = wave[0].diff(n=2).abs()
    border = bend[HOP - 2 :: HOP]
    assert float(border.max()) <= float(bend.max()) and float(bend.max()) < 2.1 * float(bend.quantile(0.9))


def test_the_source_has_power_one_and_is_silent_where_unvoiced() -> None:
    source = Source(RATE, HOP)
    sounding, noise = source(course_of(torch.full((1, 250), 117.0)))
    assert abs(float(sounding.square().mean()) - 1) < 0.05 and abs(float(noise.square().mean()) - 1) < 0.05
    assert not source(course_of(torch.full((1, 20), 117.0), 0.0))[0].any()


@pytest.mark.parametrize("hz", [80.0, 103.0, 150.0, 220.0])
@torch.no_grad()
def test_the_sound_has_the_pitch_of_its_course(hz: float) -> None:
    z = torch.randn(1, 8, 125, generator=torch.Generator().manual_seed(1))
    wave = head()(z, None, course_of(torch.full((1, 125), hz)))[0, 0]
    assert wave.shape == (125 * HOP,)
    assert median_pitch(wave.numpy(), RATE).median_hz == pytest.approx(hz, rel=0.002)


@torch.no_grad()
def test_the_pitch_of_the_latents_is_what_sounds() -> None:
    made = head(3)
    z, g = torch.randn(1, 8, 1, generator=torch.Generator().manual_seed(1)).expand(-1, -1, 125), torch.ones(1, 3, 1)
    made.pitch.proj.bias += torch.tensor([-0.3, 8.0])
    asked = float(hz_of(made.pitch(z, g)[0]).median())
    assert median_pitch(made(z, g)[0, 0].numpy(), RATE).median_hz == pytest.approx(asked, rel=0.01)


def test_a_clock_goes_on_where_it_stopped() -> None:
    hz = 60 + 440 * torch.rand(2, 300, generator=torch.Generator().manual_seed(0))
    ends = torch.cat([at_borders(hz), at_borders(torch.ones_like(hz))], 1)
    first = torch.tensor([[0], [500]])
    whole, pieces = Clock(RATE, HOP, first)(ends), Clock(RATE, HOP, first)
    assert torch.equal(torch.cat([pieces(each) for each in ends.split([1, 0, 100, 199], -1)], -1), whole)
    exact = ((ends[:, 0] + ends[:, 1]).double() * HOP / RATE / 2).cumsum(1)[:, -2]
    apart = (whole[:, 4, -1].double() - exact).remainder(1)
    assert float(torch.minimum(apart, 1 - apart).max()) < 1e-4
    assert whole[1, 5].tolist() == [(500 + index) % 512 for index in range(300)]


@pytest.mark.parametrize("sizes", [[150], [1] * 150, [30, 0, 1, 50, 69], [0, 149, 1, 0]])
@torch.no_grad()
def test_a_head_in_pieces_is_the_head(sizes: list[int]) -> None:
    made, draws = head(3), torch.Generator().manual_seed(1)
    z, g = torch.randn(1, 8, 150, generator=draws), torch.randn(1, 3, 1, generator=draws)
    sound = fed(SourceStage(made, g, torch.float32), z, sizes)
    torch.testing.assert_close(sound, made(z, g), atol=1e-4, rtol=0)  # of high harmonics: pitch counts up


@torch.no_grad()
def test_a_stage_gives_what_is_final_at_once() -> None:
    made = head()
    stage = SourceStage(made, None, torch.float32)
    given = sum(stage(torch.zeros(1, 8, 1), False).shape[-1] for _ in range(40))
    assert given == (40 - made.reach) * HOP
    assert made.reach == SourceHead(8, 16, 24, 2, 1024, HOP, 0, RATE).reach >= 2 * 4 + made.pitch.reach + 1


@torch.no_grad()
def test_rows_of_a_batch_are_as_alone() -> None:
    made, z = head(), torch.randn(3, 8, 30, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(made(z)[1:2], made(z[1:2]), atol=2e-4, rtol=0)


def test_a_known_pitch_teaches_the_latents() -> None:
    made, z = head(), torch.randn(2, 8, 30, generator=torch.Generator().manual_seed(1)).requires_grad_()
    hz = torch.full((2, 30), 103.0)
    hz[:, 20:] = 0
    counted = torch.ones(2, 30, dtype=torch.bool)
    counted[1] = False
    course, loss = made.taught(hz, z, None, torch.tensor([0, 7]), counted)
    loss.backward()
    assert z.grad[0].any() and not z.grad[1].any()
    torch.testing.assert_close(course[:, 0, :19], hz[:, :19])
    assert course[:, 2, :20].eq(1).all() and not course[:, 2, 21:].any() and not course.requires_grad
    assert course[:, 5, 0].tolist() == [0, 7]
    _, silent = made.taught(torch.zeros(2, 30), z, None, torch.tensor([0, 7]), counted)
    assert silent.isfinite()
