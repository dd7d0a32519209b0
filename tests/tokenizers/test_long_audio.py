"""Sound beyond what is read whole: as many units as there are, no matter how long; and sound at the limits."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from omnikit.data.media import load_audio
from omnikit.errors import MediaError, OmnikitError
from omnikit.nn.spiral_windows import Windows, window_steps
from omnikit.system import System
from omnikit.tokenizers.spiral_fsq import SpiralFSQ
from omnikit.types import Audio
from omnikit.wiring import Node

RATE = 16_000


def tokenizer(**changes: object) -> SpiralFSQ:
    torch.manual_seed(3)
    sizes = {
        "num_mels": 8,
        "widths": [4, 4, 4, 4],
        "layers": [1, 1],
        "heads": [1, 1],
        "ffn_ratio": 1,
        "position": [4, 1],
    }
    made = SpiralFSQ(**{**sizes, "num_phones": 3, "decoder_dim": 4, "reduced": False, **changes})
    torch.nn.init.normal_(made.pre_quant.weight, std=1.0)
    return made.eval()


def speech(*lengths: int) -> Audio:
    wave = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(0))
    envelope = torch.sin(torch.arange(max(lengths)) / 3_000.0).square()
    return Audio(0.3 * wave * envelope, torch.tensor(lengths), RATE)


@pytest.mark.parametrize("length", [32_001, 47_999, 100_003, 160_000])
def test_windows_give_as_many_units_as_there_are(length: int) -> None:
    model = tokenizer()
    whole = model.encode(speech(length))
    model.windows = Windows(longest_s=1.0, context_s=0.3)
    units = model.encode(speech(length))
    assert units.lengths.tolist() == whole.lengths.tolist() == [-(-length // 640)]
    assert model.features(speech(length)).features.shape[1] == units.codes.shape[2]


def test_windows_say_nearly_what_the_whole_says() -> None:
    """Statistics are those of the whole: a half that is quiet keeps its units, which it would not have alone."""
    model, audio = tokenizer(), speech(160_000)
    audio.wave[:, 80_000:] *= 0.01
    whole = model.encode(audio).codes
    model.windows = Windows(longest_s=4.0, context_s=1.5)
    windowed = model.encode(audio).codes
    quiet = model.encode(Audio(audio.wave[:, 80_000:], torch.tensor([80_000]), RATE)).codes
    assert (whole == windowed).float().mean() > 0.9
    assert (whole[..., 125:] == quiet).float().mean() < 0.5


def test_a_window_that_holds_everything_changes_nothing() -> None:
    model, audio = tokenizer(), speech(40_000)
    whole = model.features(audio).features
    front, encoder = model.encoder.wav2spec["featurizer"], model.encoder
    with torch.no_grad():
        (steps,) = window_steps(encoder, audio.wave[0], Windows(longest_s=60.0), 4)
        frames = front.stretch(audio.wave[0], 0, 250, front.peak(audio.wave[0]))
    torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-4)
    assert frames.shape == (250, 8)


def test_windows_share_their_context_and_keep_every_step_once() -> None:
    windows = Windows(longest_s=4.0, context_s=1.0)
    cores = list(windows.cores(1_003, 25.0))
    assert cores[0] == (0, 0, 75, 100)
    kept = [step for _, start, end, _ in cores for step in range(start, end)]
    assert kept == list(range(1_003))
    assert all(end - first == 100 for first, _, _, end in cores)
    assert all(start - first >= 25 for first, start, _, _ in cores[1:])
    assert all(end - core_end >= 25 for _, _, core_end, end in cores[:-1])
    with pytest.raises(OmnikitError, match="never advance"):
        Windows(longest_s=2.0, context_s=1.0)


def test_long_and_short_rows_of_a_batch_are_themselves() -> None:
    model = tokenizer(reduced=True)
    model.windows = Windows(longest_s=1.0, context_s=0.2)
    audio = speech(50_000, 9_000, 33_333)
    together = model.encode(audio)
    for row, length in enumerate(audio.lengths.tolist()):
        alone = model.encode(Audio(audio.wave[row : row + 1, :length], audio.lengths[row : row + 1], RATE))
        assert torch.equal(together.codes[row, :, : together.lengths[row]], alone.codes[0])
        assert together.durations is not None and int(together.durations[row].sum()) == -(-length // 640)


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read from the resource module")
def test_three_hours_are_read_in_bounded_memory() -> None:
    model = tokenizer()
    model.windows = Windows(longest_s=20.0, context_s=2.0)
    length = 3 * 3600 * RATE
    tile = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)).half()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wave = tile.repeat(1, 3 * 3600)
    units = model.encode(Audio(wave, torch.tensor([length]), RATE))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    assert units.lengths.tolist() == [270_000] and units.codes.shape == (1, 1, 270_000)
    assert grown < 1.6, f"{grown:.2f} GiB for a wave of {wave.nbytes / 2**30:.2f} GiB"


@pytest.mark.parametrize("samples", [1, 2, 159, 160, 161, 255, 256, 257, 639, 640, 641])
def test_odd_lengths_give_a_unit_for_every_beginning_40_ms(samples: int) -> None:
    model = tokenizer()
    units = model.encode(speech(samples))
    assert units.lengths.tolist() == [-(-samples // 640)]
    batch = model.encode(speech(samples, 5_000))
    assert torch.equal(batch.codes[0, :, : units.codes.shape[2]], units.codes[0])


@pytest.mark.parametrize("gain", [0.0, 1e-12, 1e-3, 30.0], ids=["silent", "nearly silent", "quiet", "clipped"])
def test_loudness_is_no_obstacle(gain: float) -> None:
    audio = speech(20_000)
    wave = (audio.wave * gain).clamp(-1, 1)
    units = tokenizer().encode(Audio(wave, audio.lengths, RATE))
    assert units.codes.shape == (1, 1, 32)
    features = tokenizer().features(Audio(wave, audio.lengths, RATE)).features
    assert bool(features.isfinite().all())


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_stereo_through_a_file(rate: int, channels: int, tmp_path: Path) -> None:
    seconds = 0.5
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", np.stack([tone] * channels, 1), rate)
    units = tokenizer().encode(load_audio(tmp_path / "x.wav", RATE))
    assert 12 <= int(units.lengths[0]) <= 14


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_system_hears_any_rate(rate: int, tmp_path: Path) -> None:
    system = System.assemble({"tokenizer": Node("tokenizer/spiral_fsq", dict(tokenizer().parameters_given))})
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", tone, rate, subtype="FLOAT")
    units = system.hear(Audio(torch.from_numpy(tone)[None], torch.tensor([rate]), rate))
    assert units.lengths.tolist() == [25]
    assert torch.equal(units.codes, system.hear(tmp_path / "x.wav").codes)


@pytest.mark.parametrize(
    ("wave", "length"), [(torch.zeros(1, 0), 0), (torch.full((1, 9), torch.nan), 9), (torch.full((1, 9), torch.inf), 9)]
)
def test_empty_and_broken_sound_is_refused(wave: torch.Tensor, length: int) -> None:
    with pytest.raises(MediaError):
        tokenizer().encode(Audio(wave, torch.tensor([length]), RATE))
