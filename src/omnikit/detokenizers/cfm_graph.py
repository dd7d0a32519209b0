"""`detokenizer/cfm_mel` as a graph: units and a style vector in, sound out, for runtimes other than PyTorch.

Letters: K codebooks, T units, L frames, M mel bands, G style width, S samples. One row at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnikit.detokenizers.cfm_vocoder import IstftVocoder
from omnikit.nn.alignment import take_units
from omnikit.nn.cfm import euler
from omnikit.nn.duration import DurationPredictor
from omnikit.nn.folding import folded
from omnikit.nn.frame_prior import place_in_unit
from omnikit.nn.graph_path import ends_of, path_to, whole_durations
from omnikit.nn.mel_decoder import MelField
from omnikit.nn.real_fourier import RealIstftHead
from omnikit.nn.vits_encoders import UnitEncoder


class FlowGraph(nn.Module):
    """Units [1, K, T] and a style [1, G] (left out where the voice takes none) → wave [1, S]: the flow from the mean.

    `style_gain` is what style vectors are multiplied by, `scale` the mean and deviation of log-mels. What goes
    beyond ±1 is cut, and no graph can say so; nor does it refuse samples that are no finite numbers.
    """

    def __init__(
        self,
        encoder: UnitEncoder,
        lengths: DurationPredictor,
        field: MelField,
        vocoder: IstftVocoder,
        tint: nn.Module | None,
        *,
        style_gain: float,
        scale: tuple[float, float],
        longest_unit: float,
        num_steps: int,
    ) -> None:
        super().__init__()
        self.encoder, self.lengths, self.field = folded(encoder), folded(lengths), folded(field)
        self.tint = None if tint is None else folded(tint)
        self.head, self.heard = RealIstftHead(vocoder.head), (vocoder.mean, vocoder.std)
        self.style_gain, self.scale = style_gain, scale
        self.longest_unit, self.num_steps = longest_unit, num_steps

    def forward(self, codes: Tensor, style: Tensor | None = None) -> Tensor:
        """Sound of units."""
        g = None if style is None else style[..., None] * self.style_gain  # [1, G, 1]
        mask = torch.ones_like(codes[:, :1]).float()  # [1, 1, T]
        hidden, mean, extra = self.encoder(codes, mask)
        real = self.lengths.log_durations(hidden, mask, g)[:, 0].exp().clamp(max=self.longest_unit)  # [1, T]
        ends = ends_of(real)
        ends = ends + (ends[:, -1:] == 0).long()  # of units that are all too short for a frame, the first gets one
        path = path_to(ends)  # [1, L]
        expected = take_units(mean, path)  # [1, M, L]
        if g is not None and self.tint is not None:
            expected = expected + self.tint(g)
        place = place_in_unit(whole_durations(ends), path)[:, None].to(expected.dtype)
        condition = torch.cat([expected, take_units(extra, path), place], 1)  # [1, 2 · M + 1, L]
        ones = torch.ones_like(expected[:, :1])
        start = torch.zeros_like(expected)
        mel = euler(lambda x, time: self.field(x, condition, time, ones, g), start, self.num_steps)
        log_mel = mel * self.scale[1] + self.scale[0]
        return self.head((log_mel - self.heard[0]) / self.heard[1])[:, 0].clamp(-1, 1)
