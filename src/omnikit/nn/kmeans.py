"""A bottleneck that quantises nothing while it trains; codes are found afterwards, by k-means.

Letters: B batch, T steps, d dimensions, N codes, M vectors; `...` any leading axes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from omnikit.errors import OmnikitError
from omnikit.nn.quantizer import Quantizer
from omnikit.nn.vq import nearest

_CHUNK = 8192


class ContinuousBottleneck(Quantizer):
    """The control without a quantiser: heads learn from the vectors themselves, units are their nearest cluster.

    Until `fit` has run, `forward` hands the vectors on as they are (so that validation during training judges what is
    trained) with ids of a random codebook; afterwards codes are the fitted means, as units need.

    Raises `OmnikitError` for fewer than two codes or no dimension.
    Ref: k-means units of continuous features: Hsu et al., "HuBERT", IEEE/ACM TASLP 2021, section III.
    """

    is_fitted_afterwards = True
    codebook: Tensor
    is_fitted: Tensor

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__()
        if num_codes < 2 or dim < 1:
            raise OmnikitError(f"{num_codes} codes of width {dim} cannot be; give at least 2 codes of width 1 or more.")
        self.num_codes, self.dim = num_codes, dim
        self.register_buffer("codebook", torch.randn(num_codes, dim))  # [N, d]
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.bool))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [..., d] float32 (the vectors themselves before `fit`) and ids [...] int64 of z [..., d]."""
        ids = nearest(z, self.codebook)
        return (self.codes_from_ids(ids) if bool(self.is_fitted) else z.float()), ids

    def codes_from_ids(self, ids: Tensor) -> Tensor:
        """Codes [..., d] float32 of ids [...] int64."""
        return functional.embedding(ids, self.codebook.float())

    def learn(self, z: Tensor, valid: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The vectors themselves: nothing is quantised in training."""
        return z, {}

    def fit(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Set the codes to the means of `num_codes` clusters of vectors [M, d]."""
        self.codebook.copy_(kmeans(vectors.to(self.codebook), self.num_codes, generator))
        self.is_fitted.fill_(True)


@torch.no_grad()
def kmeans(vectors: Tensor, num_clusters: int, generator: torch.Generator, num_steps: int = 20) -> Tensor:
    """Means [N, d] of clusters of vectors [M, d], by Lloyd's iterations from vectors drawn without replacement.

    A cluster that loses its last vector moves to the vector that lies farthest from its mean. Where there are fewer
    vectors than clusters, some means are alike and the later ones of them stay unused. Raises `OmnikitError` without
    vectors. Ref: Lloyd, "Least squares quantization in PCM", IEEE Trans. Information Theory 28, 1982.
    """
    if not len(vectors):
        raise OmnikitError("k-means needs vectors, and got none.")
    drawn = torch.randperm(len(vectors), generator=generator)[:num_clusters]
    means = vectors[drawn.to(vectors.device).repeat(-(-num_clusters // len(drawn)))[:num_clusters]].clone()  # [N, d]
    for _ in range(num_steps):
        ids = torch.cat([nearest(chunk, means) for chunk in vectors.split(_CHUNK)])  # [M]
        counts = torch.bincount(ids, minlength=num_clusters)
        sums = torch.zeros_like(means).index_add_(0, ids, vectors)
        moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], means)
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty) and len(vectors) > num_clusters:
            apart = (vectors - means[ids]).square().sum(-1)  # [M]
            moved[empty] = vectors[apart.topk(len(empty)).indices]
        if torch.equal(moved, means):
            break
        means = moved
    return means
