"""`detokenizer/uvits` as a graph: units and a style vector in, sound out, for runtimes other than PyTorch.

Letters: K codebooks, T units, L latent frames, C latent channels, G style width, S samples. One row at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnikit.nn.alignment import take_units
from omnikit.nn.duration import DurationPredictor, StochasticDurationPredictor
from omnikit.nn.flow import CouplingFlow
from omnikit.nn.folding import folded
from omnikit.nn.frame_prior import FramePrior, place_in_unit
from omnikit.nn.graph_path import ends_of, path_to, whole_durations
from omnikit.nn.hifigan import HiFiGAN
from omnikit.nn.istft_head import IstftHead
from omnikit.nn.real_fourier import RealIstftHead, RealSourceHead
from omnikit.nn.source_head import SourceHead
from omnikit.nn.vits_encoders import UnitEncoder


class DecodingGraph(nn.Module):
    """Units [1, K, T] and a style [1, G] (left out where the voice takes none) → wave [1, S], without noise.

    What goes beyond ±1 is cut, and no graph can say so; nor does it refuse samples that are no finite numbers.
    """

    def __init__(
        self,
        units: UnitEncoder,
        durations: StochasticDurationPredictor | DurationPredictor,
        flow: CouplingFlow,
        head: HiFiGAN | IstftHead,
        frame_prior: FramePrior | None,
        longest_unit: float,
    ) -> None:
        super().__init__()
        self.units, self.durations, self.flow = folded(units), folded(durations), folded(flow)
        self.head: nn.Module
        if isinstance(head, SourceHead):
            self.head = RealSourceHead(head)
        else:
            self.head = RealIstftHead(head) if isinstance(head, IstftHead) else folded(head)
        self.frame_prior = None if frame_prior is None else folded(frame_prior)
        self.longest_unit = longest_unit

    def forward(self, codes: Tensor, style: Tensor | None = None) -> Tensor:
        """Sound of units."""
        g = None if style is None else style[..., None]  # [1, G, 1]
        mask = torch.ones_like(codes[:, :1]).float()  # [1, 1, T]
        hidden, mean, _ = self.units(codes, mask)
        ends = self._ends(hidden, mask, g)
        path = path_to(ends)  # [1, L]
        frames = take_units(mean, path)  # [1, C, L]
        ones = torch.ones_like(frames[:, :1])
        if self.frame_prior is not None:
            place = place_in_unit(whole_durations(ends), path)
            frames, _ = self.frame_prior(take_units(hidden, path), place, frames, torch.zeros_like(frames), ones, g)
        return self.head(self.flow.inverse(frames, ones, g), g)[:, 0].clamp(-1, 1)

    def _ends(self, hidden: Tensor, mask: Tensor, g: Tensor | None) -> Tensor:
        """The frame [1, T] that follows every unit; of units that are all too short for one, the last gets it."""
        if isinstance(self.durations, StochasticDurationPredictor):
            still = torch.zeros_like(torch.cat([mask, mask], 1))  # [1, 2, T]
            real = self._bounded(self.durations.log_durations(hidden, mask, still, g)).ceil()
        else:
            real = self._bounded(self.durations.log_durations(hidden, mask, g))
        ends = ends_of(real)
        return torch.cat([ends[:, :-1], ends[:, -1:].clamp(min=1)], 1)

    def _bounded(self, log_frames: Tensor) -> Tensor:
        return log_frames[:, 0].exp().clamp(max=self.longest_unit)  # [1, T]
