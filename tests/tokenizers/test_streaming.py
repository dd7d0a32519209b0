"""Live units: how sound arrives changes nothing, a stream is `encode_live`, and that is `encode` around every block."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omnikit.errors import MediaError, OmnikitError
from omnikit.slots.unit_stream import Live, UnitStream, frames_of
from omnikit.tokenizers.bottleneck import BottleneckTokenizer
from omnikit.tokenizers.spiral_fsq import SpiralFSQ
from omnikit.types import Audio, Units

STEP = 640  # samples of a unit
LIVE = Live(window_s=1.0, block_s=0.2, lookahead_s=0.12)  # 25, 5 and 3 units
FRAME = 160


def tokenizer(**changes: object) -> SpiralFSQ:
    torch.manual_seed(3)
    sizes = {"num_mels": 16, "widths": [8, 12, 16, 12], "layers": [1, 1], "heads": [2, 3], "ffn_ratio": 2}
    made = SpiralFSQ(**{**sizes, "position": [8, 4], "num_phones": 6, "decoder_dim": 8, "reduced": False, **changes})
    torch.nn.init.normal_(made.pre_quant.weight, std=1.0)
    return made.eval()


def speech(*lengths: int, seed: int = 0) -> Audio:
    wave = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(seed))
    envelope = torch.sin(torch.arange(max(lengths)) / 3_000.0).square()
    return Audio(0.3 * wave * envelope, torch.tensor(lengths), 16_000)


def cut(audio: Audio, *sizes: int) -> Iterator[Audio]:
    """The samples in chunks of `sizes`, over and over."""
    start, turn = 0, 0
    while start < audio.wave.shape[1]:
        wave = audio.wave[:, start : start + sizes[turn % len(sizes)]]
        yield Audio(wave, torch.tensor([wave.shape[1]]), audio.sample_rate)
        start, turn = start + wave.shape[1], turn + 1


def joined(pieces: Iterator[Units]) -> tuple[Tensor, Tensor | None]:
    found = list(pieces)
    codes = torch.cat([item.codes[0] for item in found], 1)
    durations = None if found[0].durations is None else torch.cat([item.durations[0] for item in found])
    return codes, durations


@pytest.mark.parametrize("chunk", [FRAME, 2 * FRAME, 7 * FRAME, 10**6], ids=["1 frame", "2", "7", "all"])
@pytest.mark.parametrize("reduced", [False, True])
def test_a_stream_is_encode_live(chunk: int, reduced: bool) -> None:
    model, audio = tokenizer(levels=[3, 3], reduced=reduced), speech(30_000)
    expected = model.encode_live(audio, LIVE)
    codes, durations = joined(model.stream(cut(audio, chunk), LIVE))
    assert torch.equal(codes, expected.codes[0])
    if reduced:
        assert durations is not None and expected.durations is not None
        assert torch.equal(durations, expected.durations[0]) and durations.max() > 1


@settings(max_examples=10, deadline=None)
@given(
    length=st.integers(1, 24_000),
    sizes=st.lists(st.integers(1, 9_000), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 400),
    reduced=st.booleans(),
)
def test_any_cut_of_any_length_gives_the_same(length: int, sizes: list[int], reduced: bool) -> None:
    model, audio = tokenizer(levels=[3, 3], reduced=reduced), speech(length)
    assert torch.equal(joined(model.stream(cut(audio, *sizes), LIVE))[0], model.encode_live(audio, LIVE).codes[0])


def test_a_block_is_what_encode_hears_around_it() -> None:
    model, length = tokenizer(), 47 * STEP + 123
    audio = speech(length)
    live = model.encode_live(audio, LIVE).codes[0, 0]
    assert len(live) == 48
    for block in range(8):
        first, end = 5 * block, (5 * block + 5 + 3) * STEP
        begin = max(0, end - 25 * STEP)
        heard = model.encode(Audio(audio.wave[:, begin:end], torch.tensor([end - begin]), 16_000)).codes[0, 0]
        assert torch.equal(live[first : first + 5], heard[first - begin // STEP :][:5])
    begin = (48 - 25) * STEP
    tail = model.encode(Audio(audio.wave[:, begin:], torch.tensor([length - begin]), 16_000)).codes[0, 0]
    assert torch.equal(live[40:], tail[40 - 23 :])


def test_a_recording_within_the_lookahead_is_encode() -> None:
    model = tokenizer()
    for length in (1, STEP - 1, 8 * STEP - 1):
        audio = speech(length)
        assert torch.equal(model.encode_live(audio, LIVE).codes, model.encode(audio).codes)


def test_units_come_when_they_are_promised() -> None:
    """The block behind n units is known as soon as n + 5 + 3 units of sound were heard, and not before."""
    model, audio = tokenizer(), speech(20_000)
    state = UnitStream(model, LIVE)
    known = 0
    for chunk in cut(audio, FRAME):
        units = state.feed(chunk)
        known += 0 if units is None else units.codes.shape[2]
        heard = state._heard // STEP
        assert known == max(0, (heard - 3) // 5 * 5)
    assert known == 25
    last = state.finish()
    assert last is not None and known + last.codes.shape[2] == 32 and state.finish() is None


def test_memory_does_not_grow_with_the_recording() -> None:
    state = UnitStream(tokenizer(), LIVE)
    kept = []
    for chunk in cut(speech(200_000), 1_000):
        state.feed(chunk)
        kept.append(state._kept.shape[1])
    assert max(kept) <= (25 + 5) * STEP + 1_000


def test_a_batch_is_its_rows() -> None:
    model, audio = tokenizer(), speech(30_000, 17_000, 500)
    together = model.encode_live(audio, LIVE)
    for row, length in enumerate(audio.lengths.tolist()):
        alone = Audio(audio.wave[row : row + 1, :length], audio.lengths[row : row + 1], 16_000)
        expected = model.encode_live(alone, LIVE)
        assert torch.equal(frames_of(together)[row], frames_of(expected)[0])


def test_the_default_declares_its_lookahead() -> None:
    contract = BottleneckTokenizer.contract()
    assert contract.lookahead_ms == Live().lookahead_ms == 800


@pytest.mark.parametrize(
    "live", [Live(block_s=0.0), Live(lookahead_s=0.0), Live(window_s=0.5), Live(window_s=1.0, block_s=0.9)]
)
def test_times_that_cannot_be_are_refused(live: Live) -> None:
    with pytest.raises(OmnikitError, match="window holds both"):
        UnitStream(tokenizer(), live)


def test_sound_that_cannot_be_streamed_is_refused() -> None:
    model, audio = tokenizer(), speech(2_000)
    with pytest.raises(MediaError, match="before its first sample"):
        list(model.stream([]))
    with pytest.raises(MediaError, match="44100"):
        list(model.stream([Audio(audio.wave, audio.lengths, 44_100)]))
    with pytest.raises(MediaError, match="one recording, 2 rows"):
        list(model.stream([speech(100, 100)]))
    with pytest.raises(MediaError, match="not finite"):
        list(model.stream([audio, Audio(audio.wave * torch.nan, audio.lengths, 16_000)]))
    state = UnitStream(model)
    state.feed(audio)
    state.finish()
    with pytest.raises(MediaError, match="new one"):
        state.feed(audio)


def test_empty_chunks_are_nothing() -> None:
    model, audio = tokenizer(), speech(20_000)
    empty = Audio(audio.wave[:, :0], torch.tensor([0]), 16_000)
    chunks = [empty, *(item for chunk in cut(audio, 3_000) for item in (chunk, empty))]
    assert torch.equal(joined(model.stream(chunks, LIVE))[0], model.encode_live(audio, LIVE).codes[0])
