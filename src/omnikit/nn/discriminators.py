"""The adversaries of a vocoder: one looks at the raw waveform, the others at it folded by a prime period.

Letters: B batch, S samples, C channels, p period.

Ref: Kong et al., "HiFi-GAN", NeurIPS 2020, section 2.3; Kumar et al., "MelGAN", NeurIPS 2019, section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.weight_norm import WNConv1d, WNConv2d, joined_weight

_SLOPE = 0.1
_SCALE_SHAPE = ((15, 1), (41, 4), (41, 4), (41, 4), (41, 4), (5, 1))  # kernel size, stride


class ScaleDiscriminator(nn.Module):
    """Strided grouped convolutions over the waveform."""

    def __init__(self, channels: Sequence[int], groups: Sequence[int]) -> None:
        super().__init__()
        widths = [1, *channels]
        self.convs = nn.ModuleList(
            WNConv1d(widths[i], widths[i + 1], kernel, stride, padding=kernel // 2, groups=groups[i])
            for i, (kernel, stride) in enumerate(_SCALE_SHAPE)
        )
        self.conv_post = WNConv1d(widths[-1], 1, 3, padding=1)

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Waves [B, 1, S] → scores [B, N] and the feature maps [B, C, S']."""
        x, maps = wave, []
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), _SLOPE)
            maps.append(x)
        x = self.conv_post(x)
        return x.flatten(1), [*maps, x]


class PeriodDiscriminator(nn.Module):
    """Strided convolutions over every p-th sample; the p phases never meet: they are the rows of a picture."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        widths = [1, *channels]
        last = len(channels) - 1
        self.convs = nn.ModuleList(
            WNConv2d(widths[i], widths[i + 1], (5, 1), stride=(1 if i == last else 3, 1), padding=(2, 0))
            for i in range(len(channels))
        )
        self.conv_post = WNConv2d(widths[-1], 1, (3, 1), padding=(1, 0))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Waves [B, 1, S] → scores [B, N] and the feature maps [B, C, S' / p, p].

        Phases are rows, as time along the rows is what convolutions are fastest at; the published order is that of
        the maps.
        """
        missing = -wave.shape[-1] % self.period
        x = functional.pad(wave, (0, missing), mode="reflect") if missing else wave
        x = x.unflatten(-1, (-1, self.period)).transpose(2, 3)  # [B, 1, p, S / p]
        maps = []
        for conv in self.convs:
            x = functional.leaky_relu(_along_rows(conv, x), _SLOPE)
            maps.append(x.transpose(2, 3))
        score = _along_rows(self.conv_post, x).transpose(2, 3)
        return score.flatten(1), [*maps, score]


def _along_rows(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution over columns, [C', C, K, 1], of pictures [B, C, p, T] that lie on their side."""
    weight = joined_weight(conv).transpose(2, 3)
    return functional.conv2d(x, weight, conv.bias, conv.stride[::-1], conv.padding[::-1])


class WaveDiscriminator(nn.Module):
    """One scale discriminator and one period discriminator for each of `periods`."""

    def __init__(
        self,
        scale_channels: Sequence[int],
        scale_groups: Sequence[int],
        period_channels: Sequence[int],
        periods: Sequence[int],
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList([ScaleDiscriminator(scale_channels, scale_groups)])
        self.discriminators.extend(PeriodDiscriminator(period, period_channels) for period in periods)

    def forward(self, wave: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Waves [B, 1, S] → the scores and the feature maps of every discriminator."""
        results = [discriminator(wave) for discriminator in self.discriminators]
        return [score for score, _ in results], [maps for _, maps in results]
