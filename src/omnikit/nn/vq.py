"""Vector quantisation with a learned codebook: the mean of what fell to a code, kept as a running average.

Letters: B batch, T steps, d dimensions, N codes, M vectors; `...` any leading axes.

Ref: van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017, equations 1-3 and appendix A.1
(running averages); Razavi et al., "Generating Diverse High-Fidelity Images with VQ-VAE-2", NeurIPS 2019, equation 2;
unused codes begin anew at vectors of the batch: Dhariwal et al., "Jukebox", 2020, section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, distributed
from torch.nn import functional

from omnikit.errors import OmnikitError
from omnikit.nn.processes import num_processes, sum_over_processes
from omnikit.nn.quantizer import Quantizer

DEAD_SHARE = 0.03
"""A code that is used less than this share of the average begins anew."""
_SMOOTHING = 1e-5


class VectorQuantizer(Quantizer):
    """Quantises vectors [..., d] to the nearest of N codes; gradients pass straight through.

    The codebook has no gradient: in training mode every `learn` moves it by N_i ← γ N_i + (1 - γ) n_i,
    m_i ← γ m_i + (1 - γ) Σ z, e_i = m_i / N_i, with n and Σz summed over all processes, so that each holds the same
    codebook as one process with the whole batch would. The first `learn` starts the codes at vectors of its batch.

    Args: `num_codes` N, `dim` d, `decay` γ of the running averages, `commitment` weight β of ‖z - sg(e)‖² (mean over
    rows of the mean over valid steps and dimensions). Raises `OmnikitError` for numbers that no codebook can have.
    """

    codebook: Tensor
    ema_counts: Tensor
    ema_sums: Tensor
    num_updates: Tensor

    def __init__(self, num_codes: int, dim: int, decay: float = 0.99, commitment: float = 0.25) -> None:
        super().__init__()
        if num_codes < 2 or dim < 1 or not 0 < decay < 1 or commitment < 0:
            raise OmnikitError(
                f"A codebook of {num_codes} codes of width {dim}, decay {decay}, commitment {commitment} cannot be.\n"
                "Accepted: at least 2 codes of width 1 or more, 0 < decay < 1, commitment >= 0."
            )
        self.num_codes, self.dim, self.decay, self.commitment = num_codes, dim, decay, commitment
        self.register_buffer("codebook", torch.randn(num_codes, dim))  # [N, d]
        self.register_buffer("ema_counts", torch.ones(num_codes))  # [N]
        self.register_buffer("ema_sums", self.codebook.clone())  # [N, d]
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [..., d] float32 and ids [...] int64 of z [..., d]."""
        ids = nearest(z, self.codebook)
        return self.codes_from_ids(ids), ids

    def codes_from_ids(self, ids: Tensor) -> Tensor:
        """Codes [..., d] float32 of ids [...] int64."""
        return functional.embedding(ids, self.codebook.float())

    def learn(self, z: Tensor, valid: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Straight-through codes [B, T, d] of z [B, T, d] and the commitment; moves the codebook in training mode."""
        z = z.float()
        if self.training:
            vectors = z.detach()[valid]  # [M, d]
            if not int(self.num_updates):
                self._begin(vectors)
        codes, ids = self(z)
        apart = ((z - codes).square().mean(-1) * valid).sum(1) / valid.sum(1).clamp(min=1)  # [B]
        if self.training:
            self._follow(vectors, ids[valid])
        return z + (codes - z).detach(), {"commitment": self.commitment * apart.mean()}

    @torch.no_grad()
    def _begin(self, vectors: Tensor) -> None:
        """All codes start at vectors of the first batch, each with an equal count."""
        self.codebook.copy_(self._picked(vectors))
        self.ema_counts.fill_(1.0)
        self.ema_sums.copy_(self.codebook)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, ids: Tensor) -> None:
        """Move the running averages by vectors [M, d] that fell to ids [M]; restart codes that fell out of use."""
        counts = torch.zeros_like(self.ema_counts).index_add_(0, ids, torch.ones_like(vectors[:, 0]))
        sums = torch.zeros_like(self.ema_sums).index_add_(0, ids, vectors)
        self.ema_counts.mul_(self.decay).add_(sum_over_processes(counts), alpha=1 - self.decay)
        self.ema_sums.mul_(self.decay).add_(sum_over_processes(sums), alpha=1 - self.decay)
        total = self.ema_counts.sum()
        average = total / self.num_codes
        dead = (self.ema_counts < DEAD_SHARE * average)[:, None]  # [N, 1]
        self.ema_sums.copy_(torch.where(dead, self._picked(vectors) * average, self.ema_sums))
        self.ema_counts.copy_(torch.where(dead[:, 0], average, self.ema_counts))
        smooth = (self.ema_counts + _SMOOTHING) / (total + self.num_codes * _SMOOTHING) * total  # never a zero
        self.codebook.copy_(torch.where(dead, self.ema_sums / average, self.ema_sums / smooth[:, None]))
        self.num_updates += 1

    def _picked(self, vectors: Tensor) -> Tensor:
        """One vector [N, d] of the batch for every code, the same on all processes, each of which gives its share.

        The draw follows the number of updates alone, so that a resumed run picks what an uninterrupted one does.
        """
        world = num_processes()
        rank = distributed.get_rank() if world > 1 else 0
        generator = torch.Generator().manual_seed(int(self.num_updates) * world + rank)
        if not len(vectors):
            vectors = self.codebook
        picked = vectors[torch.randint(len(vectors), (self.num_codes,), generator=generator).to(vectors.device)]
        mine = torch.arange(self.num_codes, device=vectors.device) % world == rank
        return sum_over_processes(picked * mine[:, None])


def nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """Index [...] of the row of `codebook` [N, d] that lies nearest to each vector of z [..., d] (Euclidean)."""
    with torch.autocast(z.device.type, enabled=False):
        z, codebook = z.detach().float(), codebook.float()
        # ‖z - e‖² without ‖z‖², which is the same for all codes
        return (codebook.square().sum(-1) - 2 * z @ codebook.T).argmin(-1)
