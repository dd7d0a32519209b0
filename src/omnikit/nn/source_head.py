"""A Fourier head that filters a source: pulses at the pitch that the latents hold, and noise.

Magnitudes and phases that are made up frame by frame know nothing of the frame before, so a period longer than the hop
has nowhere to come from. Here a clock carries it, and the network shapes the spectrum of what it drives.

Letters: B batch, C channels, T frames, F frequency bins, N transform size, S = T · hop samples, G style width.

Ref: Wang et al., "Neural Source-Filter Waveform Models …", TASLP 2020; Engel et al., "DDSP", ICLR 2020, section 3
(harmonics plus filtered noise); Li et al., "HiFTNet", 2023 (a source in a Fourier head).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.flow import WN
from omnikit.nn.istft_head import MAX_LOG_MAGNITUDE, IstftHead
from omnikit.nn.istft_head import head_reach as filter_reach
from omnikit.nn.pitch import CEILING_HZ, FLOOR_HZ
from omnikit.nn.processes import mean_over_processes
from omnikit.nn.source import Clock, Source, at_borders
from omnikit.nn.streaming import Overlapped

_READER_DIM, _READER_LAYERS, _READER_KERNEL = 64, 3, 7
_MIDDLE_HZ = 150.0
_SEMITONES = 12 / math.log(2)
_FIRST_GAIN, _FIRST_NOISE, _BEND_HZ = 0.03, 0.002, 500.0
"""Of the untrained filters: pulses of power 1 come out as soft as speech and fall by 6 dB an octave as it does."""


def head_reach(num_layers: int, fft_size: int, hop_size: int) -> int:
    """Frames to either side that the sound of a frame depends on, besides the clock, which counts all before it."""
    around = math.ceil((fft_size - hop_size) / 2 / hop_size)
    return max(filter_reach(num_layers, fft_size, hop_size), 2 * around + PitchReader.reach + 1)


def hz_of(height: Tensor) -> Tensor:
    """F0 in Hz of what a `PitchReader` says, within what can be a pitch."""
    return _MIDDLE_HZ * height.clamp(math.log(FLOOR_HZ / _MIDDLE_HZ), math.log(CEILING_HZ / _MIDDLE_HZ)).exp()


class PitchReader(nn.Module):
    """Latents → how high the voice is, as the logarithm of F0 over 150 Hz, and whether there is one.

    Nothing in it scales its input: latents have more noise in training than when speaking.
    """

    reach = _READER_LAYERS * (_READER_KERNEL // 2)
    """Frames to either side that are read: a pitch moves slowly."""

    def __init__(self, in_dim: int, style_dim: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(in_dim, _READER_DIM, 1)
        self.enc = WN(_READER_DIM, _READER_KERNEL, _READER_LAYERS, style_dim)
        self.proj = nn.Conv1d(_READER_DIM, 2, 1)

    def forward(self, z: Tensor, g: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents z [B, C, T] in the style g [B, G, 1] → height and logits of voicing [B, T], in float32."""
        with torch.autocast(z.device.type, enabled=False):
            z, g = z.float(), None if g is None else g.float()
            height, voicing = self.proj(self.enc(self.pre(z), torch.ones_like(z[:, :1]), g)).unbind(1)
        return height, voicing


class SourceHead(IstftHead):
    """`IstftHead` whose magnitudes and phases filter pulses; magnitudes of a third kind filter noise."""

    num_parts = 3

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        ffn_dim: int,
        num_layers: int,
        fft_size: int,
        hop_size: int,
        style_dim: int,
        sample_rate: int,
    ) -> None:
        super().__init__(in_dim, hidden_dim, ffn_dim, num_layers, fft_size, hop_size, style_dim)
        self.sample_rate = sample_rate
        self.reach = head_reach(num_layers, fft_size, hop_size)
        self.pitch = PitchReader(in_dim, style_dim)
        self.source = Source(sample_rate, hop_size)
        with torch.no_grad():
            hz = torch.linspace(0, sample_rate / 2, fft_size // 2 + 1)
            log_magnitude, _, log_noise = self.out.bias.chunk(3)
            log_magnitude.copy_((_FIRST_GAIN / (1 + hz / _BEND_HZ)).log())
            log_noise.fill_(math.log(_FIRST_NOISE))

    def forward(self, z: Tensor, g: Tensor | None = None, course: Tensor | None = None) -> Tensor:
        """Latents z [B, C, T] in the style g [B, G, 1] → waveform [B, 1, S].

        `course` [B, 6, T] is that of the source (see `nn.source`); None: the pitch that the latents hold, from now on.
        """
        if course is None:
            course = self.clock()(self.ends(z, g))
        x = self.predicted(z, g)
        with torch.autocast(x.device.type, enabled=False):
            return self.driven(x.float(), course)[:, None]

    def clock(self, first: Tensor | int = 0) -> Clock:
        """A clock at its start, at frame `first` [B, 1] of the noise."""
        return Clock(self.sample_rate, self.hop_size, first)

    def ends(self, z: Tensor, g: Tensor | None = None) -> Tensor:
        """Frequency and voicing at both ends of every frame [B, 4, T] that the latents z [B, C, T] hold."""
        height, voicing = self.pitch(z, g)
        return torch.cat([at_borders(hz_of(height)), at_borders(voicing.sigmoid())], 1)

    def taught(self, hz: Tensor, z: Tensor, g: Tensor | None, first: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """The course of a pitch that is known, and how far from it is the one that the latents hold.

        `hz` [B, T] is 0 where unvoiced, `first` [B] the number of the first frame; frames that are not `counted` [B, T]
        teach nothing. The distance is a mean of semitones over voiced frames, and the cross entropy of voicing.
        """
        height, voicing = self.pitch(z, g)
        voiced = hz > 0
        apart = _SEMITONES * (height - (hz.clamp(min=FLOOR_HZ) / _MIDDLE_HZ).log()).abs()
        unsure = functional.binary_cross_entropy_with_logits(voicing, voiced.float(), reduction="none")
        loss = mean_over_processes((apart * (voiced & counted)).sum(), (voiced & counted).sum())
        loss = loss + mean_over_processes((unsure * counted).sum(), counted.sum())
        known = torch.where(voiced, hz, hz_of(height.detach()))
        ends = torch.cat([at_borders(known), at_borders(voiced.float())], 1)
        return self.clock(first[:, None])(ends), loss

    @staticmethod
    def filtered(x: Tensor, pulses: tuple[Tensor, Tensor], noise: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Predictions x [B, T, 3 · F] at work on the spectra of pulses and noise; all are parts [B, T, F]."""
        log_magnitude, phase, log_noise = x.chunk(3, -1)
        gain, noise_gain = (each.clamp(max=MAX_LOG_MAGNITUDE).exp() for each in (log_magnitude, log_noise))
        a, b = gain * phase.cos(), gain * phase.sin()
        real, imaginary = pulses
        return (
            a * real - b * imaginary + noise_gain * noise[0],
            a * imaginary + b * real + noise_gain * noise[1],
        )

    def driven(self, x: Tensor, course: Tensor) -> Tensor:
        """Predictions x [B, T, 3 · F] at work on the source → waveform [B, S]."""
        with torch.no_grad():
            pulses, noise = (self._analysed(wave) for wave in self.source(course))
        return self.laid(*self.filtered(x, pulses, noise))

    def _analysed(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts [B, T, F] of the frames of a wave [B, S]."""
        edge = (self.fft_size - self.hop_size) // 2
        frames = functional.pad(wave, (edge, edge)).unfold(1, self.fft_size, self.hop_size)  # [B, T, N]
        spectrum = torch.fft.rfft(frames * self.window)
        return spectrum.real, spectrum.imag


class SourceStage:
    """A `SourceHead` fed piece by piece, as `nn.streaming.Overlapped`, by a pitch and a clock that run ahead of it.

    What the pitch needs to see lies within what the filter waits for, so the source delays nothing.
    """

    def __init__(self, head: SourceHead, g: Tensor | None, precision: torch.dtype) -> None:
        self.head, self.g, self.precision = head, g, precision
        self._ends = Overlapped(lambda z: head.ends(z, g), head.pitch.reach + 1, 4)
        self._clock = head.clock()
        self._seen: Tensor | None = None  # latents [1, C, T]
        self._course: Tensor | None = None  # of the first of them [1, 6, at most T]
        self._given = 0  # frames of `_seen` whose sound was given

    def __call__(self, x: Tensor, last: bool) -> Tensor:
        z, course = x, self._clock(self._ends(x, last))
        if self._seen is not None and self._course is not None:
            z, course = torch.cat([self._seen, z], -1), torch.cat([self._course, course], -1)
        head, final = self.head, z.shape[-1] if last else max(z.shape[-1] - self.head.reach, self._given)
        if final > self._given:
            out = self._sound(z, course)[..., self._given * head.hop_size : final * head.hop_size]
        else:
            out = z.new_empty(len(z), 1, 0)
        drop = max(0, final - head.reach)
        self._seen, self._course, self._given = z[..., drop:], course[..., drop:], final - drop
        return out

    def _sound(self, z: Tensor, course: Tensor) -> Tensor:
        """The wave of latents whose last ones may have no course yet; what depends on it is not final."""
        course = functional.pad(course, (0, z.shape[-1] - course.shape[-1]))
        with torch.autocast(z.device.type, self.precision, enabled=self.precision != torch.float32):
            return self.head(z, self.g, course)
