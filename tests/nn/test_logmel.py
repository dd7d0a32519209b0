"""The mel filter bank and the log-mel front end: known figures, and rows that do not see each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from omnikit.errors import OmnikitError
from omnikit.nn.logmel import LogMel
from omnikit.nn.mel import hz_to_mel, mel_filter_bank, mel_to_hz


def noise(num_samples: int, seed: int = 0) -> Tensor:
    return torch.randn(1, num_samples, generator=torch.Generator().manual_seed(seed))


def test_mel_scale_is_linear_to_1_khz_and_27_steps_reach_6400_hz() -> None:
    assert hz_to_mel(500.0) == pytest.approx(7.5)
    assert hz_to_mel(1000.0) == pytest.approx(15.0)
    assert hz_to_mel(6400.0) == pytest.approx(42.0)
    hz = [0.0, 100.0, 999.0, 1001.0, 7777.0]
    back = mel_to_hz(torch.tensor([hz_to_mel(value) for value in hz], dtype=torch.float64))
    assert back.tolist() == pytest.approx(hz)


def test_filters_are_triangles_of_unit_area_between_their_neighbours() -> None:
    bank = mel_filter_bank(16_000, 1 << 16, 40, 100.0, 7000.0)
    areas = bank.double().sum(1) * (16_000 / (1 << 16))
    torch.testing.assert_close(areas, torch.ones(40, dtype=torch.float64), atol=1e-3, rtol=0)
    peaks = bank.argmax(1) * (16_000 / (1 << 16))
    step = (hz_to_mel(7000.0) - hz_to_mel(100.0)) / 41
    expected = mel_to_hz(torch.arange(1, 41, dtype=torch.float64) * step + hz_to_mel(100.0))
    torch.testing.assert_close(peaks.double(), expected, atol=0.5, rtol=0)
    assert not bank[:, : int(100 / (16_000 / (1 << 16)))].any()


@pytest.mark.parametrize("edges", [(-1.0, 8000.0), (0.0, 8001.0), (500.0, 500.0)])
def test_bands_outside_the_spectrum_are_refused(edges: tuple[float, float]) -> None:
    with pytest.raises(OmnikitError, match="half the sample rate"):
        mel_filter_bank(16_000, 512, 80, *edges)


def test_frame_by_frame_from_the_definition() -> None:
    front = LogMel(num_mels=20)
    wave = noise(3333)
    mel, lengths = front(wave, torch.tensor([3333]))
    x = (wave[0] / (wave.abs().max() + 1e-5)).double()
    x = torch.cat([x[:1], x[1:] - 0.97 * x[:-1]])
    x = torch.nn.functional.pad(x[None], (256, 256), mode="reflect")[0]
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(320, dtype=torch.float64) / 319)
    rows = []
    for frame in range(math.ceil(3333 / 160)):
        inside = x[frame * 160 + 96 : frame * 160 + 96 + 320] * window
        power = torch.fft.rfft(inside, 512).abs().square()
        rows.append(torch.log(front.fb[0].double() @ power + 2.0**-24))
    expected = torch.stack(rows, 1)
    expected = (expected - expected.mean(1, keepdim=True)) / (expected.std(1, keepdim=True) + 1e-5)
    assert lengths.tolist() == [21]
    assert mel.shape == (1, 20, 32)
    torch.testing.assert_close(mel[0, :, :21].double(), expected, atol=2e-4, rtol=0)
    assert not mel[0, :, 21:].any()


def test_a_row_of_a_batch_is_the_row_alone_whatever_lies_behind_it() -> None:
    front = LogMel(num_mels=24)
    lengths = torch.tensor([5000, 4801, 4800, 700, 161, 160, 37, 2, 1])
    batch = noise(5000 * len(lengths)).reshape(len(lengths), 5000)  # what lies behind a row's end is noise, not zeros
    mel, frames = front(batch, lengths)
    assert mel.isfinite().all()
    for row, length in enumerate(lengths.tolist()):
        alone, alone_frames = front(batch[row : row + 1, :length], lengths[row : row + 1])
        assert frames[row] == alone_frames[0] == max(1, math.ceil(length / 160))
        num_frames = min(alone.shape[2], mel.shape[2])
        torch.testing.assert_close(mel[row, :, :num_frames], alone[0, :, :num_frames], atol=1e-4, rtol=0)
        assert not mel[row, :, int(frames[row]) :].any()


def test_loudness_does_not_matter() -> None:
    front = LogMel(num_mels=24)
    loud = noise(4000)
    loud = loud / loud.abs().max()
    lengths = torch.tensor([4000])
    torch.testing.assert_close(front(loud / 2, lengths)[0], front(loud, lengths)[0], atol=1e-3, rtol=0)


def test_silence_is_finite() -> None:
    mel, _ = LogMel(num_mels=8)(torch.zeros(1, 2000), torch.tensor([2000]))
    assert mel.isfinite().all()


def test_reduced_precision_around_it_does_not_reach_the_spectrum() -> None:
    front = LogMel(num_mels=24)
    with torch.autocast("cpu", torch.bfloat16):
        inside, _ = front(noise(3000), torch.tensor([3000]))
    assert torch.equal(inside, front(noise(3000), torch.tensor([3000]))[0])


def test_a_stretch_of_a_recording_is_that_stretch_of_the_whole() -> None:
    """Before normalisation; the ends are mirrored, the middle is not."""
    front, row = LogMel(16), 0.3 * torch.randn(4_321, generator=torch.Generator().manual_seed(0))
    peak = front.peak(row)
    whole = front.stretch(row, 0, 28, peak)
    for start, end in ((0, 3), (3, 20), (25, 28), (27, 28)):
        torch.testing.assert_close(front.stretch(row, start, end, peak), whole[start:end], rtol=1e-5, atol=1e-5)
    normalised = (whole - whole.mean(0)) / (whole.std(0) + 1e-5)
    mel, frames = front(row[None], torch.tensor([len(row)]))
    assert frames.tolist() == [28]
    torch.testing.assert_close(mel[0, :, :28].T, normalised, rtol=1e-4, atol=1e-4)


def test_the_published_batches_let_padding_into_shorter_rows_only() -> None:
    front = LogMel(16)
    wave = 0.3 * torch.randn(2, 4_000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([4_000, 3_003])
    right, frames = front(wave, lengths)
    front.reflects_batch = True
    published, _ = front(wave, lengths)
    alone, _ = front(wave[1:, :3_003], lengths[1:])
    torch.testing.assert_close(published[0], right[0])
    torch.testing.assert_close(right[1, :, : frames[1]], alone[0, :, : frames[1]], rtol=1e-4, atol=1e-4)
    assert (published[1] - right[1]).abs().max() > 0.01
