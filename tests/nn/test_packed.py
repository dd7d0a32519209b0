"""Packed weights: the same numbers as the blocks of training, followed when weights change, absent where not wanted."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.fourier_conv import SHORTEST_KERNEL, FourierConv
from omnikit.nn.packed import PackedConv, PackedMatrix, inference_dtype
from omnikit.nn.packed_linear import PackedTwin
from omnikit.nn.spiral import FeatureEncoder, spiral_blocks, valid_steps
from omnikit.nn.spiral_packed import PackedSpiral

WIDTHS = (8, 12, 16, 20)
LENGTHS = torch.tensor([61, 40, 3, 1])


@pytest.fixture(autouse=True)
def needs_kernels() -> Iterator[None]:
    with torch.no_grad():
        if inference_dtype(torch.zeros(1)) is None:
            pytest.skip("this build of torch has no oneDNN")
        yield


def encoder(position_kernel: int = 8) -> FeatureEncoder:
    torch.manual_seed(0)
    made = FeatureEncoder(spiral_blocks(16, WIDTHS, (1, 2), (3, 5), 2, position_kernel, 4, 0.0, 0.0)).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "bias" in name or "norm" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def frames() -> Tensor:
    return torch.randn(4, 61, 16, generator=torch.Generator().manual_seed(1))


def run_as_in_training(made: FeatureEncoder, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        steps, lengths = made(x, LENGTHS)
    return steps.detach(), lengths


@pytest.mark.parametrize("position_kernel", [8, 7, SHORTEST_KERNEL])
def test_inference_gives_the_numbers_of_training(position_kernel: int) -> None:
    made, x = encoder(position_kernel), frames()
    expected, lengths = run_as_in_training(made, x)
    found, found_lengths = made(x, LENGTHS)
    valid = valid_steps(lengths, expected.shape[1])
    assert torch.equal(lengths, found_lengths) and found.dtype == torch.float32
    torch.testing.assert_close(found[valid], expected[valid], rtol=1e-5, atol=1e-5)


def test_what_stands_in_padding_does_not_matter() -> None:
    made, x = encoder(), frames()
    spoiled = x.masked_fill(~valid_steps(LENGTHS, 61)[..., None], 7.0)
    one, lengths = made(x, LENGTHS)
    valid = valid_steps(lengths, one.shape[1])
    assert torch.equal(one[valid], made(spoiled, LENGTHS)[0][valid])


def test_bfloat16_is_near_and_is_asked_for_by_automatic_precision() -> None:
    made, x = encoder(), frames()
    expected, lengths = run_as_in_training(made, x)
    with torch.autocast("cpu", torch.bfloat16):
        if inference_dtype(x) is None:
            pytest.skip("this processor has no bfloat16")
        found, _ = made(x, LENGTHS)
    assert found.dtype == torch.float32
    valid = valid_steps(lengths, expected.shape[1])
    apart = (found[valid] - expected[valid]).abs().mean()
    assert 1e-5 < apart < 0.05


def test_rows_in_any_order_and_of_equal_lengths_attend_to_themselves() -> None:
    made, x = encoder(), frames()
    lengths = torch.tensor([40, 61, 61, 9])
    found, steps = made(x, lengths)
    for row, (length, count) in enumerate(zip(lengths.tolist(), steps.tolist(), strict=True)):
        alone, _ = made(x[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(found[row, :count], alone[0], rtol=1e-5, atol=1e-5)
        assert not found[row, count:].any()


def test_long_sequences_in_bfloat16_attend_alike() -> None:
    made, x = encoder(), torch.randn(1, 2_400, 16, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([2_400])
    packed = PackedSpiral(made, torch.bfloat16)
    expected, _ = made(x, lengths)
    assert expected.shape[1] == 600  # beyond the length up to which all scores are held
    assert (packed(x, lengths)[0] - expected).abs().mean() < 0.05


def test_new_weights_are_followed() -> None:
    made, x = encoder(), frames()
    before, _ = made(x, LENGTHS)
    weight = made.get_parameter("block_modules.6.layers.1.fc2.weight")
    weight.mul_(2.0)
    after, _ = made(x, LENGTHS)
    assert not torch.allclose(before[0], after[0], atol=1e-3)
    torch.testing.assert_close(after[0], run_as_in_training(made, x)[0][0], rtol=1e-5, atol=1e-5)
    weight.data.mul_(0.5)
    torch.testing.assert_close(made(x, LENGTHS)[0], before)


def test_copies_and_files_do_not_carry_the_packed_weights() -> None:
    made, x = encoder(), frames()
    names = list(made.state_dict())
    expected, _ = made(x, LENGTHS)
    assert list(made.state_dict()) == names
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        torch.testing.assert_close(twin(x, LENGTHS)[0], expected)
        twin.get_parameter("block_modules.0.norm.bias").add_(1.0)
        assert not torch.allclose(twin(x, LENGTHS)[0], expected)
    torch.testing.assert_close(made(x, LENGTHS)[0], expected)


def test_without_the_kernels_the_ordinary_calls_are_used() -> None:
    made, x = encoder(), frames()
    expected, lengths = made(x, LENGTHS)
    with torch.backends.mkldnn.flags(enabled=False):
        assert inference_dtype(x) is None
        found, _ = made(x, LENGTHS)
    valid = valid_steps(lengths, expected.shape[1])
    torch.testing.assert_close(found[valid], expected[valid], rtol=1e-5, atol=1e-5)


def test_where_packed_weights_are_not_for() -> None:
    x = torch.zeros(1)
    assert inference_dtype(x) == torch.float32
    assert inference_dtype(x.double()) is None and inference_dtype(x.to("meta")) is None
    with torch.enable_grad():
        assert inference_dtype(x) is None
    made = encoder().train()
    assert made._packed._made is None
    made(frames(), LENGTHS)
    assert made._packed._made is None


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_products_and_convolutions_are_those_of_torch(activation: str) -> None:
    weight, bias, x = torch.randn(6, 5), torch.randn(6), torch.randn(2, 3, 5)
    then = {"none": lambda y: y, "relu": torch.relu, "gelu": functional.gelu}[activation]
    packed = PackedMatrix(weight, bias, torch.float32, activation)  # type: ignore[arg-type]
    torch.testing.assert_close(packed(x), then(functional.linear(x, weight, bias)), rtol=1e-5, atol=1e-6)
    for taps in (4, 5):
        kernel, sound = torch.randn(8, 2, taps), torch.randn(3, 11, 4)
        conv = PackedConv(kernel, torch.ones(8), 2, torch.float32, activation)  # type: ignore[arg-type]
        expected = functional.conv1d(sound.transpose(1, 2), kernel, torch.ones(8), padding=taps // 2, groups=2)
        torch.testing.assert_close(conv(sound).transpose(1, 2), then(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("taps", [SHORTEST_KERNEL, SHORTEST_KERNEL + 1])
@pytest.mark.parametrize("num_steps", [1, SHORTEST_KERNEL, 2 * SHORTEST_KERNEL, 7 * SHORTEST_KERNEL + 3])
def test_long_convolutions_by_transforms_are_those_of_torch(taps: int, num_steps: int) -> None:
    weight, bias, x = torch.randn(12, 4, taps) / taps**0.5, torch.randn(12), torch.randn(2, num_steps, 8)
    sums = functional.conv1d(x.double().transpose(1, 2), weight.double(), bias.double(), padding=taps // 2, groups=2)
    expected = functional.gelu(sums)[..., :num_steps].transpose(1, 2).float()
    conv = FourierConv(weight, bias, 2)
    torch.testing.assert_close(conv(x), expected, rtol=1e-5, atol=1e-5)
    assert conv(x.bfloat16()).dtype == torch.bfloat16


def test_a_twin_computes_alike_and_follows_weights_and_modes() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Dropout(0.5), nn.Sequential(nn.Linear(7, 3, bias=False)))
    x, twins = torch.randn(2, 4, 5), PackedTwin()
    twin = twins.of(model.eval())
    assert twin is not model and twins.of(model) is twin and twin[1] is not model[1]
    assert twin[1].weight is model[1].weight and type(model[0]) is nn.Linear
    torch.testing.assert_close(twin(x), model(x), rtol=1e-5, atol=1e-6)
    model[0].weight.mul_(2.0)
    torch.testing.assert_close(twins.of(model)(x), model(x), rtol=1e-5, atol=1e-6)
    assert twins.of(model.train())[2].training
    with torch.enable_grad():
        assert twins.of(model) is model
        twin(x).sum().backward()  # a twin from before still computes with gradients, by the ordinary products
    assert model[3][0].weight.grad is not None


def test_large_models_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(5, 7))
    monkeypatch.setattr("omnikit.nn.packed_linear.MOST_BYTES", 5 * 7 * 4 - 1)
    assert PackedTwin().of(model) is model
