"""Flow matching: path and loss against the formulas, Euler on fields with known answers, exactness for a normal."""

from __future__ import annotations

import math

import pytest
import torch

from omnikit.errors import OmnikitError
from omnikit.nn.cfm import euler, flow_matching_loss, transport
from omnikit.nn.mel_decoder import MelField, time_features
from omnikit.nn.steps import cut_steps, evaluating, normal, samples_of, step_mask


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_path_is_that_of_lipman_number_by_number() -> None:
    noise, data = (torch.randn(3, 2, 4, generator=draws(seed)) for seed in (1, 2))
    time, sigma = torch.tensor([0.0, 0.3, 1.0]), 0.05
    point, velocity = transport(noise, data, time, sigma)
    for b in range(3):
        t = float(time[b])
        for c in range(2):
            for s in range(4):
                x0, x1 = float(noise[b, c, s]), float(data[b, c, s])
                assert float(point[b, c, s]) == pytest.approx((1 - (1 - sigma) * t) * x0 + t * x1, abs=1e-6)
                assert float(velocity[b, c, s]) == pytest.approx(x1 - (1 - sigma) * x0, abs=1e-6)


def test_the_velocity_is_the_slope_of_the_path() -> None:
    noise, data = (torch.randn(2, 3, 5, generator=draws(seed), dtype=torch.float64) for seed in (1, 2))
    step = 1e-6
    before, velocity = transport(noise, data, torch.full((2,), 0.4, dtype=torch.float64), 0.01)
    after, _ = transport(noise, data, torch.full((2,), 0.4 + step, dtype=torch.float64), 0.01)
    torch.testing.assert_close((after - before) / step, velocity, atol=1e-7, rtol=1e-6)


def test_the_loss_is_a_mean_over_valid_numbers() -> None:
    found, velocity = (torch.randn(2, 3, 5, generator=draws(seed)) for seed in (1, 2))
    mask = step_mask(torch.tensor([5, 2]), 5)
    squares = [
        float((found[b, c, s] - velocity[b, c, s]) ** 2)
        for b, n in ((0, 5), (1, 2))
        for c in range(3)
        for s in range(n)
    ]
    assert float(flow_matching_loss(found, velocity, mask)) == pytest.approx(sum(squares) / len(squares), rel=1e-5)
    spoiled = torch.where(mask > 0, found, torch.tensor(1e6))
    assert torch.equal(flow_matching_loss(spoiled, velocity, mask), flow_matching_loss(found, velocity, mask))


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_a_constant_field_is_followed_exactly(num_steps: int) -> None:
    start, slope = (torch.randn(2, 3, 4, generator=draws(seed)) for seed in (1, 2))
    torch.testing.assert_close(euler(lambda x, t: slope, start, num_steps), start + slope)


def test_euler_is_of_first_order() -> None:
    start = torch.ones(1, 1, 1, dtype=torch.float64)
    errors = [abs(float(euler(lambda x, t: -2 * x, start, n)) - math.exp(-2)) for n in (50, 100, 200)]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.1)
    assert float(euler(lambda x, t: -2 * x, start, 4)) == pytest.approx((1 - 2 / 4) ** 4)


def test_the_field_sees_the_time_before_each_step() -> None:
    seen: list[float] = []

    def field(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        assert time.shape == (2,)
        seen.append(float(time[0]))
        return torch.zeros_like(x)

    euler(field, torch.zeros(2, 1, 1), 4)
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_a_normal_is_reached_from_noise() -> None:
    """Data N(m, s²): the optimal field is known, and following it turns noise into exactly that normal."""
    mean, std, sigma = 3.0, 0.5, 1e-4

    def field(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        t, keep = time[:, None, None], 1 - sigma
        own = (1 - keep * t) ** 2 + (t * std) ** 2  # variance of x_t
        slope = (t * std**2 - keep * (1 - keep * t)) / own  # E[x_1 - keep x_0 | x_t] is linear in x_t
        return mean + slope * (x - t * mean)

    noise = torch.randn(1, 1, 4000, generator=draws(), dtype=torch.float64)
    wanted = mean + noise * math.sqrt(sigma**2 + std**2)
    coarse, fine = (float((euler(field, noise, steps) - wanted).abs().max()) for steps in (50, 400))
    assert fine < 0.02
    assert coarse / fine == pytest.approx(8, rel=0.3)


def test_regression_on_the_path_finds_the_optimal_field() -> None:
    """Least squares of the velocity on x_t, at one time: the loss's minimum is the conditional mean used above."""
    mean, std, sigma, t = 3.0, 0.5, 1e-2, 0.6
    noise, spread = (torch.randn(1, 1, 200_000, generator=draws(seed), dtype=torch.float64) for seed in (1, 2))
    point, velocity = transport(noise, mean + std * spread, torch.tensor([t], dtype=torch.float64), sigma)
    design = torch.stack([torch.ones_like(point[0, 0]), point[0, 0] - t * mean], 1)
    offset, slope = torch.linalg.lstsq(design, velocity[0, 0]).solution.tolist()
    keep = 1 - sigma
    assert offset == pytest.approx(mean, abs=0.01)
    assert slope == pytest.approx(
        (t * std**2 - keep * (1 - keep * t)) / ((1 - keep * t) ** 2 + (t * std) ** 2), abs=0.01
    )


def test_no_steps_are_refused() -> None:
    with pytest.raises(OmnikitError, match="num_steps is 0"):
        euler(lambda x, t: x, torch.zeros(1, 1, 1), 0)


def test_the_mel_field_knows_time_style_and_where_a_row_ends() -> None:
    torch.manual_seed(0)
    field = MelField(4, cond_dim=3, hidden_dim=8, ffn_dim=12, num_layers=2, style_dim=2)
    with torch.no_grad():
        for name, weight in field.named_parameters():
            if "cond" in name or "gain" in name:
                weight.normal_(std=0.5)
    x, condition, g = torch.randn(2, 4, 9), torch.randn(2, 3, 9), torch.randn(2, 2, 1)
    mask, time = step_mask(torch.tensor([9, 5]), 9), torch.tensor([0.2, 0.7])
    together = field(x, condition, time, mask, g)
    alone = field(x[1:, :, :5], condition[1:, :, :5], time[1:], mask[1:, :, :5], g[1:])
    torch.testing.assert_close(together[1:, :, :5], alone, atol=1e-6, rtol=1e-5)
    assert not together[1, :, 5:].any()
    assert not torch.allclose(together, field(x, condition, time + 0.1, mask, g))
    assert not torch.allclose(together, field(x, condition, time, mask, g + 1))


def test_time_features_tell_times_apart() -> None:
    features = time_features(torch.tensor([0.0, 0.5, 0.501]), 6)
    assert features[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert float(features[1, 0]) == pytest.approx(math.sin(500), abs=1e-4)
    assert float(features[1, 5]) == pytest.approx(math.cos(500 / 1e4), abs=1e-4)
    assert float((features[1] - features[2]).norm()) > 0.1


def test_stretches_and_their_samples() -> None:
    x = torch.arange(10.0).view(1, 1, 10)
    at = torch.tensor([[8, 9, 10]])
    assert cut_steps(x, at).tolist() == [[[8.0, 9.0, 9.0]]]
    assert samples_of(torch.tensor([[2, 3]]), 2).tolist() == [[4, 5, 6, 7]]


def test_evaluating_puts_the_mode_back() -> None:
    module = torch.nn.Dropout().train()
    with evaluating(module):
        assert not module.training and not torch.is_grad_enabled()
    assert module.training and torch.is_grad_enabled()


def test_noise_follows_its_generator() -> None:
    here = torch.device("cpu")
    assert torch.equal(normal((2, 3), draws(1), here), normal((2, 3), draws(1), here))
    assert not torch.equal(normal((2, 3), draws(1), here), normal((2, 3), draws(2), here))
