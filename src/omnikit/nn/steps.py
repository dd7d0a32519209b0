"""Small tools for padded sequences: which steps are valid, stretches cut out of them, noise, and evaluation.

Letters: B batch, C channels, T steps, N steps of a stretch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def step_mask(lengths: Tensor, num_steps: int) -> Tensor:
    """1 where a step is valid: lengths [B] → [B, 1, T]."""
    return (torch.arange(num_steps, device=lengths.device) < lengths[:, None])[:, None].float()


def cut_steps(x: Tensor, at: Tensor) -> Tensor:
    """The steps `at` [B, N] of x [B, C, T] → [B, C, N]; steps beyond the end repeat the last."""
    at = at.clamp(max=x.shape[-1] - 1)
    return x.gather(2, at[:, None].expand(-1, x.shape[1], -1))


def samples_of(frames: Tensor, hop_size: int) -> Tensor:
    """The samples [B, N · hop] of frames [B, N]."""
    return (frames[..., None] * hop_size + torch.arange(hop_size, device=frames.device)).flatten(1)


def normal(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal numbers, drawn where the generator lives and then moved: the same on every device."""
    return torch.randn(tuple(shape), generator=generator, device=generator.device).to(device)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout off and no gradients while inside."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)
