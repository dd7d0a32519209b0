"""Convolutions by the C kernel: the numbers of PyTorch's, in pieces and by threads; and what is done without it."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from omnikit.nn import conv_kernel, native
from omnikit.nn.conv_kernel import Kernel, Workshop, kernel
from omnikit.nn.fast_conv import FastConv, FastUp, Place, Tape
from omnikit.nn.hifigan import HiFiGAN
from omnikit.nn.hifigan_kernel import HiFiGANKernel, decoding_head
from omnikit.nn.hifigan_stream import HiFiGANStream


@pytest.fixture
def built() -> Kernel:
    found = kernel()
    if found is None:
        pytest.skip("no compiler on this machine")
    return found


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """An empty cache folder, and nothing remembered before and after."""

    def forget() -> None:
        for each in (kernel, native.library, native._say_once):
            each.cache_clear()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget()
    yield monkeypatch
    monkeypatch.undo()
    forget()


def gan(num_levels: int = 2) -> HiFiGAN:
    torch.manual_seed(0)
    rates = (4, 2)[:num_levels]
    return HiFiGAN(6, 40, rates, [2 * rate for rate in rates], (3, 7, 11), ((1, 3), (1, 5), (2,)), 5).eval()


def test_the_matrices_are_exact() -> None:
    inputs, taps, outputs = conv_kernel._matrices()
    signal, filtered = [Fraction(n * n - 7 * n) for n in range(7)], [Fraction(n) for n in (3, -1, 4, 5)]

    def applied(matrix: list[list[Fraction]], vector: list[Fraction]) -> list[Fraction]:
        return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]

    products = [a * b for a, b in zip(applied(inputs, signal), applied(taps, filtered), strict=True)]
    expected = [sum(signal[n + tap] * filtered[tap] for tap in range(4)) for n in range(4)]
    assert applied(outputs, products) == expected


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("dim", "out_dim", "taps", "dilation", "steps"),
    [
        (1, 1, 1, 1, 1),
        (3, 33, 3, 1, 50),
        (40, 70, 7, 3, 33),
        (64, 32, 11, 5, 211),
        (17, 5, 4, 300, 700),
        (33, 1, 8, 2, 9),
    ],
)
@torch.no_grad()
def test_a_convolution_is_that_of_pytorch(
    built: Kernel, dim: int, out_dim: int, taps: int, dilation: int, steps: int, threads: int
) -> None:
    draws = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(out_dim, dim, taps, generator=draws), torch.randn(out_dim, generator=draws)
    x, before = torch.randn(dim, steps, generator=draws), (taps - 1) // 2 * dilation
    seen = functional.pad(functional.leaky_relu(x, 0.1), (before, (taps - 1) * dilation - before))
    expected = functional.conv1d(seen[None], weight, bias, dilation=dilation)[0].T  # [T, C']
    conv = FastConv(built.panel, weight, bias, 0.1, before, dilation)
    tape, workshop = Tape(dim), Workshop(built, threads)
    tape.append(Place(), x.T)
    for start, stop in ((0, steps), (steps // 3, steps - steps // 4)):
        made, add = torch.full((stop - start, out_dim), 2.0), torch.randn(stop - start, out_dim, generator=draws)
        bound = 1e-5 * float(expected.abs().max() + 2)
        workshop.run([conv.job(tape, made.data_ptr(), start, stop)])
        torch.testing.assert_close(made, expected[start:stop], atol=bound, rtol=0)
        workshop.run([conv.job(tape, made.data_ptr(), start, stop, add.data_ptr(), onto=True)])
        torch.testing.assert_close(made, 2 * expected[start:stop] + add, atol=2 * bound, rtol=0)


@pytest.mark.parametrize(
    ("taps", "rate", "padding"), [(16, 8, 4), (4, 2, 1), (7, 3, 2), (2, 2, 0), (5, 2, 1), (3, 4, 0)]
)
@torch.no_grad()
def test_a_transposed_convolution_is_that_of_pytorch(built: Kernel, taps: int, rate: int, padding: int) -> None:
    draws = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(10, 6, taps, generator=draws), torch.randn(6, generator=draws)
    x = torch.randn(10, 13, generator=draws)
    expected = functional.conv_transpose1d(functional.leaky_relu(x, 0.1)[None], weight, bias, rate, padding)[0].T
    up = FastUp(built.panel, weight, bias, 0.1, rate, padding)
    source, target = Tape(10), Tape(6, padding)
    source.append(Place(), x.T)
    stop = 13 + up.before
    target.lay(Place(), stop * rate)
    Workshop(built).run([up.job(source, target.address(-padding), 0, stop)])
    assert up.length(13) == len(expected)
    made = torch.stack([target._between(step, step + 1)[0] for step in range(len(expected))])
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)


def test_what_a_tape_forgets_it_no_longer_holds() -> None:
    tape, place, rows = Tape(2), Place(), torch.arange(20.0).view(10, 2)
    tape.append(place, rows[:4])
    tape.forget(1)
    place.rows(9, 2).fill_(-1)  # another signal lies there
    tape.append(place, rows[4:])
    assert (tape.first, tape.stop) == (1, 10) and torch.equal(tape._between(1, 10), rows[1:])
    tape.forget(8)
    assert torch.equal(tape._rows, rows[8:])


@torch.no_grad()
def test_threads_and_users_at_the_same_time_change_nothing(built: Kernel) -> None:
    head = decoding_head(gan(), torch.float32)
    assert isinstance(head, HiFiGANKernel)
    inputs = [torch.randn(1, 6, 50, generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    expected = [gan()(z) for z in inputs]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda z: head.begin()(z, True), inputs))
    torch.testing.assert_close(made, expected, atol=2e-6, rtol=0)


@torch.no_grad()
def test_memory_that_nobody_wrote_is_not_read(built: Kernel) -> None:
    z, expected = torch.randn(1, 6, 50), HiFiGANStream(gan())
    torch.use_deterministic_algorithms(True)  # fills fresh memory with NaN
    try:
        stage = decoding_head(gan(), torch.float32).begin()
        made = torch.cat([stage(z[..., :20], False), stage(z[..., 20:], True)], -1)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(made, expected.begin()(z, True), atol=2e-6, rtol=0)


@torch.no_grad()
def test_a_ready_head_can_be_copied_and_kept(built: Kernel) -> None:
    head, z = decoding_head(gan(1), torch.float32), torch.randn(1, 6, 9)
    for twin in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        assert torch.equal(twin.begin()(z, True), head.begin()(z, True))


@pytest.mark.parametrize("missing", ["compiler", "turned off", "broken compiler"])
@torch.no_grad()
def test_without_a_kernel_it_is_done_in_pytorch(
    fresh: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    fresh.delenv("CC", raising=False)
    if missing == "turned off":
        fresh.setenv("OMNIKIT_NATIVE", "0")
    elif missing == "compiler":
        fresh.setenv("PATH", str(tmp_path))
    else:
        fresh.setenv("CC", "false")
    with caplog.at_level(logging.INFO):
        heads = [decoding_head(gan(), torch.float32) for _ in range(3)]
        assert native.library("int other;") is None
    assert {type(head) for head in heads} == {HiFiGANStream}
    said = [record for record in caplog.records if "PyTorch" in record.getMessage()]
    assert len(said) <= (2 if missing == "broken compiler" else 1) and bool(said) == (missing != "turned off")
    assert {record.levelno for record in said} <= {logging.INFO}
    z = torch.randn(1, 6, 30)
    torch.testing.assert_close(heads[0].begin()(z, True), gan()(z), atol=2e-6, rtol=0)


def test_it_is_built_once(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if kernel() is None:
        pytest.skip("no compiler on this machine")
    assert len(list(tmp_path.rglob("*.so"))) == 1
    kernel.cache_clear(), native.library.cache_clear()

    def never(*command: object, **settings: object) -> None:
        raise AssertionError("compiled again")

    fresh.setattr(subprocess, "run", never)
    assert isinstance(kernel(), Kernel)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_kernel_is_for_float32(dtype: torch.dtype) -> None:
    expected = HiFiGANStream if dtype != torch.float32 or kernel() is None else HiFiGANKernel
    assert isinstance(decoding_head(gan(1), dtype), expected)


def peak_error(made: Tensor, expected: Tensor) -> float:
    return float((made - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_the_sound_is_the_same_within_a_hundred_thousandth_of_its_peak(built: Kernel, seed: int) -> None:
    torch.manual_seed(seed)
    head = HiFiGAN(12, 64, (4, 2), (8, 4), (3, 7, 11), ((1, 3, 5),) * 3, 5).eval()
    z, g = 3 * torch.randn(1, 12, 60), torch.randn(1, 5, 1)
    assert peak_error(decoding_head(head, torch.float32).begin(g)(z, True), head(z, g)) < 1e-5
