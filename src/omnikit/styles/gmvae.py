"""`style/gmvae`: a mixture of styles that was learnt from recordings, with a control for every latent dimension.

Letters: B batch, N examples, D style width, L latent width, K components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from omnikit.contracts import DERIVED, Contract, StylePort
from omnikit.errors import OmnikitError
from omnikit.nn.mixture_vae import MixtureVAE
from omnikit.slots.style import LearnedStyle, check_examples
from omnikit.slots.style_factors import FactorSpace
from omnikit.types import Labels, Losses, Style, StyleSource

_OWNER = "style/gmvae"
_REACH = 3.0
"""Standard deviations that a control moves its dimension, at most."""


@dataclass(frozen=True)
class Reading:
    """What the model sees in style vectors: log probabilities [N, K] of components, and latents [N, L]."""

    components: Tensor
    latents: Tensor


class GMVAE(LearnedStyle):
    """Component and latent controls → style vector, by a variational autoencoder over reference embeddings.

    Args:
        dim: width of the style vectors.
        space_id: name of the embedding space, that of the detokenizer whose references it learns from.
        factor: name of the factor that chooses the component. Examples that carry a label of this name are told their
            component (`emotion`); with a name that nothing carries, the components are found without labels.
        components: the component names, the first being the default.
        latent_dim: how many controls `z1`, `z2` … there are, each from −3 to 3 standard deviations of the component.
        hidden_dim: width of encoder and decoder.

    Labels choose a component and move its latents: `component=3,z2=1.5`. `draw` samples the mixture.

    Contract: gives a style vector of `dim` numbers in `space_id`.
    Ref: Hsu et al., "Hierarchical Generative Modeling for Controllable Speech Synthesis", ICLR 2019 (arXiv 1810.07217),
    here over embeddings in place of spectrograms; told components: Habib et al., ICLR 2020 (arXiv 1910.01709).
    """

    views = frozenset({"draw"})
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        dim: int = DERIVED,
        space_id: str = DERIVED,
        factor: str = "component",
        components: Sequence[str] = ("1", "2", "3", "4", "5", "6", "7", "8"),
        latent_dim: int = 8,
        hidden_dim: int = 128,
    ) -> None:
        super().__init__()
        self.dim, self.space_id, self.factor = dim, space_id, factor
        self.controls = tuple(f"z{index + 1}" for index in range(latent_dim))
        if factor in self.controls:
            raise OmnikitError(f"{_OWNER}: the factor '{factor}' is the name of a latent control; choose another name.")
        ends = {"0": 0.0, f"{-_REACH:g}": -_REACH, f"{_REACH:g}": _REACH}
        self.space = FactorSpace(
            _OWNER,
            {factor: tuple(components), **dict.fromkeys(self.controls, tuple(ends))},
            dict.fromkeys(self.controls, ends),
        )
        self.vae = MixtureVAE(dim, hidden_dim, latent_dim, len(components))
        self.register_buffer("mean", torch.zeros(dim))  # [D]
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def contract(cls, dim: Any, space_id: Any, **sizes: Any) -> Contract:
        """Gives a vector."""
        return Contract(
            gives={"style": StylePort(view="vector", dim=dim, space_id=space_id)}, causal=True, lookahead_ms=0.0
        )

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """The component, and one control a latent dimension."""
        return self.space.factors

    @property
    def scales(self) -> Mapping[str, Mapping[str, float]]:
        """The latent controls, in standard deviations."""
        return self.space.scales

    def from_labels(self, labels: Sequence[Labels], source: StyleSource = "user") -> Style:
        """Vectors [B, D] of components and controls; a control that is not named stands at the component's mean.

        Raises `UnknownName` for a factor or value that does not exist, `OmnikitError` for a control beyond its range.
        """
        full = tuple(self.space.complete(row) for row in labels)
        names = self.factors[self.factor]
        component = torch.tensor([names.index(str(row[self.factor])) for row in full], device=self.mean.device)
        deviations = self.mean.new_tensor([[self.space.position(z, row[z]) for z in self.controls] for row in full])
        vector = self._vectors(self.vae.place(component, deviations.view(len(full), len(self.controls))))
        return Style(labels=full, vector=vector, space_id=self.space_id, source=source)

    def draw(self, num_styles: int, generator: torch.Generator) -> Style:
        """Styles drawn from the mixture: any component, then a latent of it.

        Their labels name the component and its controls; a latent beyond the range of the controls is put at its end.
        """
        names = self.factors[self.factor]
        component = torch.randint(len(names), (num_styles,), generator=generator)
        noise = torch.randn(num_styles, len(self.controls), generator=generator).clamp(-_REACH, _REACH)
        labels = [
            {self.factor: names[index], **dict(zip(self.controls, row, strict=True))}
            for index, row in zip(component.tolist(), noise.tolist(), strict=True)
        ]
        return self.from_labels(labels, source="default")

    def read(self, vectors: Tensor) -> Reading:
        """Components and latents that the model sees in style vectors [N, D]."""
        with torch.no_grad():
            latents = self.vae.encoder((vectors.to(self.mean) - self.mean) / self.scale)
            return Reading(self.vae.components(latents), latents)

    def fit(self, vectors: Tensor, labels: Sequence[Labels], space_id: str) -> None:
        """Start from principal axes and clusters of the examples `vectors` [N, D]; stage `style` learns the rest."""
        examples = check_examples(_OWNER, vectors, labels, self.dim)  # [N, D]
        centred = examples - examples.mean(0)
        self.mean.copy_(examples.mean(0))
        self.scale.copy_(centred.square().mean().sqrt().clamp(min=1e-6))
        self.vae.start((vectors.to(self.mean) - self.mean) / self.scale, self._told(labels))
        self.space_id = space_id
        self.parameters_given["space_id"] = space_id

    def loss(
        self, vectors: Tensor, labels: Sequence[Labels], texts: Sequence[str], generator: torch.Generator
    ) -> Losses:
        """The negative evidence bound a dimension of `vectors` [B, D]; a label of its factor tells the component."""
        noise = torch.randn(len(vectors), len(self.controls), generator=generator, device=generator.device)
        bound = self.vae.bound(
            (vectors.to(self.mean) - self.mean) / self.scale,
            self._told(labels),
            noise.to(self.mean),
        )
        parts = {name: value.mean() / self.dim for name, value in vars(bound).items()}
        return Losses(torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()})

    def _told(self, labels: Sequence[Labels]) -> Tensor:
        """The component that every row names [N], −1 where it names none."""
        names = self.factors[self.factor]
        told = [names.index(str(row[self.factor])) if row.get(self.factor) in names else -1 for row in labels]
        return torch.tensor(told, device=self.mean.device)

    def _vectors(self, latents: Tensor) -> Tensor:
        """Style vectors [B, D] of latents [B, L]."""
        return (self.vae.decoder(latents) * self.scale + self.mean).detach()
