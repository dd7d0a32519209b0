"""A variational autoencoder with a mixture of Gaussians as its prior, over vectors.

Letters: N examples, B batch, D width of the data, L latent width, K components.

Ref: Hsu et al., "Hierarchical Generative Modeling for Controllable Speech Synthesis", ICLR 2019, section 2: a component
y, a latent z given y, data x given z; log p(x) ≥ E[log p(x|z)] − E[KL(q(z|x) ‖ p(z|y))] − KL(q(y|x) ‖ p(y)), in which
q(y|x) is the posterior p(y|z) of the mixture at a sample of z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.kmeans import kmeans
from omnikit.nn.residual_map import ResidualMap

_LOG_VARIANCE_FLOOR = -4.0
"""Of the prior: components do not shrink to points."""


@dataclass(frozen=True)
class Bound:
    """The terms of the negative bound for every row [B], in nats."""

    reconstruction: Tensor
    latent: Tensor
    component: Tensor


class MixtureVAE(nn.Module):
    """Encoder, decoder, and a mixture whose means and variances are learnt; its components weigh the same."""

    def __init__(self, dim: int, hidden_dim: int, latent_dim: int, num_components: int) -> None:
        super().__init__()
        self.encoder, self.decoder = ResidualMap(dim, hidden_dim, latent_dim), ResidualMap(latent_dim, hidden_dim, dim)
        self.means = nn.Parameter(torch.randn(num_components, latent_dim))  # [K, L]
        self.log_variances = nn.Parameter(torch.full((num_components, latent_dim), -1.0))  # [K, L]
        self.uncertainty = nn.Parameter(torch.full((latent_dim,), -3.0))  # log variance of z given x
        self.noise = nn.Parameter(torch.full((), -2.0))  # log variance of x given z

    @torch.no_grad()
    def start(self, x: Tensor, observed: Tensor) -> None:
        """Begin where arithmetic leads: whitened principal axes of x [N, D], and clusters along them.

        Components that rows are told to belong to (`observed` [N], −1 where not) start at the mean of these rows.
        """
        latent_dim = len(self.uncertainty)
        spread, axes = torch.linalg.eigh(x.double().T @ x.double() / len(x))
        widths = spread.flip(0)[:latent_dim].clamp(min=1e-9).sqrt()  # largest first
        axes = axes.flip(1)[:, :latent_dim]  # [D, L]
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # an axis has no sign of its own
        width = axes.shape[1]  # below L where the data are narrower
        for linear in (self.encoder.linear, self.decoder.linear):
            linear.weight.zero_()
            linear.bias.zero_()
        self.encoder.linear.weight[:width] = (axes / widths).T.to(self.means)
        self.decoder.linear.weight[:, :width] = (axes * widths).to(self.means)
        z = self.encoder(x)
        means = kmeans(z, len(self.means), torch.Generator().manual_seed(0))
        for component in range(len(means)):
            if bool((observed == component).any()):
                means[component] = z[observed == component].mean(0)
        nearest = torch.where(observed >= 0, observed, torch.cdist(z, means).argmin(1))
        self.means.copy_(means)
        for component in range(len(means)):
            own = z[nearest == component]
            if len(own) > 1:
                self.log_variances[component] = own.var(0).clamp(min=1e-2).log()

    @property
    def prior_log_variances(self) -> Tensor:
        """Log variances of the components [K, L]."""
        return self.log_variances.clamp(min=_LOG_VARIANCE_FLOOR)

    def components(self, z: Tensor) -> Tensor:
        """Log probabilities [B, K] of the components given z [B, L]."""
        return _log_density(z[:, None], self.means, self.prior_log_variances).log_softmax(-1)

    def place(self, component: Tensor, deviations: Tensor) -> Tensor:
        """Latents [B, L] that lie `deviations` [B, L] standard deviations off the means of components [B]."""
        return self.means[component] + deviations * (0.5 * self.prior_log_variances[component]).exp()

    def bound(self, x: Tensor, observed: Tensor, noise: Tensor) -> Bound:
        """The negative evidence bound of x [B, D].

        `observed` [B] is the component where it is known, −1 where it is not; `noise` [B, L] is standard normal.
        """
        mean = self.encoder(x)
        z = mean + noise * (0.5 * self.uncertainty).exp()
        log_q = self.components(z)  # [B, K]
        known = functional.one_hot(observed.clamp(min=0), len(self.means)).to(log_q.dtype)
        q = torch.where((observed >= 0)[:, None], known, log_q.exp())
        prior = self.prior_log_variances
        apart = _log_density(mean[:, None], self.means, prior) - 0.5 * (self.uncertainty - prior).exp().sum(
            -1
        )  # [B, K]
        entropy = 0.5 * (self.uncertainty + 1 + math.log(2 * math.pi)).sum(-1)
        return Bound(
            reconstruction=-_log_density(x, self.decoder(z), self.noise),
            latent=-(q * apart).sum(-1) - entropy,
            component=(q * q.clamp(min=1e-12).log()).sum(-1) + math.log(len(self.means)),
        )


def _log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log density of a diagonal Gaussian, summed over the last axis."""
    return -0.5 * ((x - mean).square() / log_variance.exp() + log_variance + math.log(2 * math.pi)).sum(-1)
