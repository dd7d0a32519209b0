"""Networks fed piece by piece: the same as fed whole, and no further to see than they say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from omnikit.nn.block_noise import BlockNoise
from omnikit.nn.flow import CouplingFlow
from omnikit.nn.flow_stream import FlowStream
from omnikit.nn.folding import Remade, folded
from omnikit.nn.hifigan import HiFiGAN
from omnikit.nn.hifigan_kernel import HiFiGANKernel, decoding_head
from omnikit.nn.hifigan_stream import HiFiGANStream
from omnikit.nn.istft_head import IstftHead
from omnikit.nn.packed_conv import packed_convs
from omnikit.nn.streaming import Overlapped, Stage

PIECES = [[40], [1] * 40, [3, 0, 1, 20, 0, 16], [0, 39, 1, 0], [13, 13, 14]]


def fed(stage: Stage, x: Tensor, sizes: list[int]) -> Tensor:
    pieces = x.split(sizes, -1)
    return torch.cat([stage(piece, index == len(pieces) - 1) for index, piece in enumerate(pieces)], -1)


def gan(**changes: object) -> HiFiGAN:
    torch.manual_seed(0)
    sizes = {"rates": (4, 2), "rate_kernels": (8, 4), "kernels": (3, 7), "dilations": ((1, 3), (1, 5))}
    return HiFiGAN(6, 16, **{**sizes, "style_dim": 5, **changes}).eval()


def flow() -> CouplingFlow:
    torch.manual_seed(0)
    made = CouplingFlow(6, 8, 5, num_layers=2, num_flows=2, style_dim=5)
    for name, weight in made.named_parameters():
        if "post" in name:
            nn.init.normal_(weight, std=0.3)
    return made.eval()


def fourier() -> IstftHead:
    torch.manual_seed(0)
    return IstftHead(6, 16, 24, num_layers=2, fft_size=64, hop_size=16, style_dim=5).eval()


@pytest.mark.parametrize("ready", [HiFiGANStream, lambda head: decoding_head(head, torch.float32)])
@pytest.mark.parametrize("sizes", PIECES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rates": (3, 2), "rate_kernels": (7, 2), "kernels": (5,), "dilations": ((1,),)},
        {"rates": (2,), "rate_kernels": (8,), "kernels": (11, 3, 7), "dilations": ((1, 3, 5), (1, 3), (2,))},
    ],
)
@torch.no_grad()
def test_hifigan_in_pieces_is_hifigan(
    changes: dict[str, object], sizes: list[int], ready: Callable[[HiFiGAN], HiFiGANStream | HiFiGANKernel]
) -> None:
    whole = gan(**changes)
    draws = torch.Generator().manual_seed(1)
    z, g = torch.randn(1, 6, 40, generator=draws), torch.randn(1, 5, 1, generator=draws)
    for style in (g, None):
        torch.testing.assert_close(fed(ready(whole).begin(style), z, sizes), whole(z, style), atol=2e-6, rtol=0)


@pytest.mark.parametrize("ready", [HiFiGANStream, lambda head: decoding_head(head, torch.float32)])
@torch.no_grad()
def test_hifigan_gives_what_is_final_at_once(ready: Callable[[HiFiGAN], HiFiGANStream | HiFiGANKernel]) -> None:
    stream = ready(gan()).begin(torch.zeros(1, 5, 1))
    given = sum(stream(torch.zeros(1, 6, 1), False).shape[-1] for _ in range(30))
    assert given >= (30 - gan().reach) * 8


@torch.no_grad()
def test_hifigan_in_bfloat16_is_near() -> None:
    z, g = torch.randn(1, 6, 200, generator=torch.Generator().manual_seed(1)), torch.zeros(1, 5, 1)
    exact = gan()(z, g)
    near = HiFiGANStream(gan(), torch.bfloat16).begin(g)(z, True)
    assert near.dtype == torch.float32
    assert 10 * torch.log10(exact.square().mean() / (exact - near).square().mean()) > 30


@pytest.mark.parametrize("sizes", PIECES)
@torch.no_grad()
def test_overlapped_is_the_whole(sizes: list[int]) -> None:
    draws = torch.Generator().manual_seed(1)
    x, g = torch.randn(1, 6, 40, generator=draws), torch.randn(1, 5, 1, generator=draws)
    head, steps = fourier(), flow()

    def inverse(z: Tensor) -> Tensor:
        return steps.inverse(z, torch.ones_like(z[:, :1]), g)

    sound = fed(Overlapped(lambda z: head(z, g), head.reach, 1, scale=16), x, sizes)
    torch.testing.assert_close(sound, head(x, g), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(fed(Overlapped(inverse, steps.reach, 6), x, sizes), inverse(x), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("sizes", PIECES)
@pytest.mark.parametrize("styled", [True, False])
@torch.no_grad()
def test_a_flow_in_pieces_is_the_flow(sizes: list[int], styled: bool) -> None:
    draws = torch.Generator().manual_seed(1)
    x, g = torch.randn(1, 6, 40, generator=draws), torch.randn(1, 5, 1, generator=draws) if styled else None
    whole = flow().inverse(x, torch.ones(1, 1, 40), g)
    stage = FlowStream(packed_convs(folded(flow())), g)
    torch.testing.assert_close(fed(stage, x, sizes), whole, atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_a_flow_gives_what_is_final_at_once() -> None:
    stage = FlowStream(packed_convs(folded(flow())), None)
    given = sum(stage(torch.zeros(1, 6, 1), False).shape[-1] for _ in range(30))
    assert given == 30 - flow().reach


@pytest.mark.parametrize("network", [gan, flow, fourier])
def test_reach_is_as_far_as_a_network_sees(network: Callable[[], nn.Module]) -> None:
    module = network()
    size, middle = 2 * module.reach + 9, module.reach + 4
    z = torch.randn(1, 6, size, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mask = torch.ones(1, 1, size)
    out = module.inverse(z, mask) if isinstance(module, CouplingFlow) else module(z)
    scale = out.shape[-1] // size
    out[..., middle * scale : (middle + 1) * scale].sum().backward()
    seen = z.grad[0].abs().sum(0).nonzero().flatten()
    assert middle - module.reach <= int(seen.min()) and int(seen.max()) <= middle + module.reach
    assert int(seen.max()) >= middle + module.reach - 1  # and no more is waited for than needed


def test_folding_leaves_the_module_alone() -> None:
    module = gan().train()
    names = list(module.state_dict())
    twin = folded(module)
    z = torch.randn(1, 6, 9)
    torch.testing.assert_close(twin(z), module(z), atol=1e-6, rtol=1e-5)
    assert list(module.state_dict()) == names and module.training and not twin.training
    assert not [name for name in twin.state_dict() if name.endswith(("weight_g", "weight_v"))]
    assert twin.conv_pre.weight is module.conv_pre.weight


def test_what_was_made_is_remade_after_any_write() -> None:
    module, kept, made = gan(), Remade[int](), []

    def make() -> int:
        made.append(0)
        return len(made)

    def get(*more: object) -> int:
        return kept.get(module.parameters(), make, *more)

    assert [get(), get(), get()] == [1, 1, 1]
    with torch.no_grad():
        module.conv_pre.bias.add_(1)
    assert [get(), get()] == [2, 2]
    module.conv_pre.weight.data.mul_(2)  # leaves no version
    assert [get(), get()] == [3, 3]
    module.load_state_dict(gan().state_dict())
    assert [get(), get()] == [4, 4]
    assert [get("other"), get("other"), get()] == [5, 5, 6]


def test_noise_is_a_function_of_the_position() -> None:
    whole = BlockNoise(3, 7, torch.device("cpu"))(0, 200)
    cut = BlockNoise(3, 7, torch.device("cpu"))
    bounds = [(0, 1), (0, 64), (3, 65), (64, 64), (64, 200), (130, 140)]
    for start, stop in bounds:
        assert torch.equal(cut(start, stop), whole[..., start:stop])
    assert not torch.equal(BlockNoise(3, 8, torch.device("cpu"))(0, 200), whole)
    assert abs(float(whole.mean())) < 0.2 and abs(float(whole.std()) - 1) < 0.1
