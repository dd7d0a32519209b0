"""What tests of the learned codebook share: a module of its own, as spawned processes must find it by name."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from omnikit.nn.vq import VectorQuantizer


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def begun(num_codes: int = 4, dim: int = 2, decay: float = 0.9) -> VectorQuantizer:
    """A quantiser in training whose codes lie at known places."""
    quantizer = VectorQuantizer(num_codes, dim, decay).train()
    quantizer.codebook.copy_(3.0 * torch.randn(num_codes, dim, generator=draws(1)))
    quantizer.ema_counts.fill_(1.0)
    quantizer.ema_sums.copy_(quantizer.codebook)
    quantizer.num_updates.fill_(1)
    return quantizer


def near_codes(quantizer: VectorQuantizer, batch: int, steps: int) -> Tensor:
    """Vectors [B, T, d] around all codes in turn."""
    ids = torch.arange(batch * steps).remainder(quantizer.num_codes).view(batch, steps)
    noise = 0.1 * torch.randn(batch, steps, quantizer.dim, generator=draws(2))
    return quantizer.codes_from_ids(ids) + noise


def everything(z: Tensor) -> Tensor:
    return torch.ones(z.shape[:2], dtype=torch.bool)


def learn_half(rank: int, folder: str, z: Tensor) -> None:
    """One of two processes: learns from its rows of z [B, T, d] and writes what it has learnt."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    quantizer = begun()
    rows = slice(0, 1) if rank == 0 else slice(1, 4)  # shares of different sizes
    quantizer.learn(z[rows], everything(z[rows]))
    torch.save(quantizer.state_dict(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()
