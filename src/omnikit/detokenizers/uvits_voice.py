"""What `detokenizer/uvits` decodes with: units to sound, whole or in a stream, in bounded memory.

Sound is made frame block by frame block. Every network in the way needs frames on both sides, so it runs behind what
it is fed and gives only what is final: the same samples whatever the blocks.

Letters: B batch, K codebooks, T units, H unit width, C latent channels, L latent frames, G style width, S samples.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from omnikit.detokenizers.recordings import given_durations
from omnikit.detokenizers.uvits_checks import style_vector, unit_codes
from omnikit.errors import DataError
from omnikit.nn.alignment import FrameCount, path_of, take_units
from omnikit.nn.block_noise import BlockNoise, seeds
from omnikit.nn.duration import StochasticDurationPredictor
from omnikit.nn.flow_stream import FlowStream
from omnikit.nn.folding import folded
from omnikit.nn.frame_prior import place_in_unit
from omnikit.nn.hifigan import HiFiGAN
from omnikit.nn.hifigan_kernel import HiFiGANKernel, decoding_head
from omnikit.nn.hifigan_stream import HiFiGANStream
from omnikit.nn.istft_head import IstftHead
from omnikit.nn.packed_conv import packed_convs
from omnikit.nn.source_head import SourceHead, SourceStage
from omnikit.nn.streaming import Overlapped, Stage
from omnikit.nn.vits_losses import bounded
from omnikit.slots.detokenizer import sound_of
from omnikit.types import Audio, Style, Units

if TYPE_CHECKING:
    from omnikit.detokenizers.uvits import UVITS

LONGEST_UNIT_S = 5.0
"""No unit is ever predicted to last longer."""

_FIRST_FRAMES, _MOST_FRAMES = 8, 256
"""Frames of the first sound of a stream, and the most that are computed at a time."""
ARRIVING_FRAMES = 32
"""Frames that are computed at a time while units arrive: fewer cost more, more are heard later."""
_HEAD_FRAMES = 64
"""Frames that a head is given at a time on a processor, where its activations then stay in the cache."""
_HEAD_FRAMES_ON_DEVICE = 1024


@dataclass(frozen=True)
class Window:
    """The units that are looked at while more are coming: blocks of them, and `before` and `after` around each.

    Two blocks of `block` units come first, then two of twice as many, and so on up to `largest`: early sound at first,
    and less work later, as what stands around a block is read anew with every block.
    """

    block: int = 4
    before: int = 64
    after: int = 4
    largest: int = 16

    def __post_init__(self) -> None:
        if self.block < 1 or self.before < 0 or self.after < 1:
            raise DataError(f"{self}: a block and what comes after it have at least one unit, what comes before none.")

    @property
    def lookahead(self) -> int:
        """Units that must be there before the first unit of a block is spoken, besides that one."""
        return max(self.block, self.largest) - 1 + self.after

    def size(self, number: int) -> int:
        """Units of a block, counted from 0."""
        return max(self.block, min(self.largest, self.block << number // 2))


_EVERYTHING = Window(block=sys.maxsize)


@dataclass(frozen=True)
class UnitPrior:
    """Units ready to be spoken: states [1, H, T], mean and log scale [1, C, T], whole durations [1, T].

    `last` says that no units follow.
    """

    hidden: Tensor
    mean: Tensor
    log_scale: Tensor
    durations: Tensor
    last: bool


class Noise:
    """The normal numbers of one row, by unit and by frame, of deviation 1: independent of blocks and of other rows."""

    def __init__(self, latent_dim: int, generator: torch.Generator, device: torch.device) -> None:
        of_units, of_frames = seeds(2, generator)
        self.units = BlockNoise(2, of_units, device)
        self.frames = BlockNoise(latent_dim, of_frames, device)


class Voice(nn.Module):
    """The decoding half of a UVITS: unit encoder, durations, flow and head, with normalised weights multiplied out.

    It shares all other weights with the model it was made of and is a picture of that model: after more training, make
    another. On its own it holds none of what only training needs, three quarters of the published weights remain.
    """

    def __init__(self, model: UVITS) -> None:
        super().__init__()
        self.codebooks, self.vocab_id, self.layout = model.codebooks, model.vocab_id, model.layout
        self.style_dim, self.style_space = model.style_dim, model.style_space
        self.sample_rate, self.hop_size, self.latent_dim = model.sample_rate, model.hop_size, model.latent_dim
        self.noise_scale, self.duration_noise_scale = model.noise_scale, model.duration_noise_scale
        self.precision = model.precision
        self.longest_unit = LONGEST_UNIT_S * float(model.frame_rate)  # frames
        self.enc_p, self.flow = packed_convs(folded(model.enc_p)), packed_convs(folded(model.flow))
        self.dp = packed_convs(folded(model.dp))
        if isinstance(self.dp, StochasticDurationPredictor):
            for name in ("post_pre", "post_convs", "post_proj", "post_flows"):
                delattr(self.dp, name)
        self.frame_prior = None if model.frame_prior is None else folded(model.frame_prior)
        self.dec: HiFiGANKernel | HiFiGANStream | IstftHead
        if isinstance(model.dec, HiFiGAN):
            self.dec = decoding_head(model.dec, model.precision)
        else:
            self.dec = folded(model.dec)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.enc_p.emb.weight.device

    @property
    def reach(self) -> int:
        """Frames after a frame that must be known before its sound is."""
        before_flow = 0 if self.frame_prior is None else self.frame_prior.reach
        return before_flow + self.flow.reach + self.dec.reach

    def noise(self, generator: torch.Generator) -> Noise:
        """The noise of the next row."""
        return Noise(self.latent_dim, generator, self.device)

    @torch.no_grad()
    def decode(
        self,
        units: Units,
        style: Style,
        generator: torch.Generator,
        durations: Tensor | None = None,
        window: Window | None = None,
    ) -> Audio:
        """Waveforms of `units` in `style`, as `UVITS.decode`; with a `window`, as arriving units are spoken."""
        codes = unit_codes(units, self.codebooks, self.vocab_id, self.layout, self.device)
        if durations is not None:
            durations = given_durations(durations, units.lengths, codes.shape[-1], self.device)
        vector = style_vector(style, self.style_dim, self.style_space, len(codes), self.device)
        noises = [self.noise(generator) for _ in codes]
        waves = []
        for row, length in enumerate(units.lengths.tolist()):  # alone, a row ends in silence and not in padding
            g = None if vector is None else vector[row : row + 1, :, None]  # [1, G, 1]
            told = None if durations is None else durations[row : row + 1, :length]
            priors = self._priors(iter([codes[row : row + 1, :, :length]]), noises[row], g, window, told)
            waves.append(torch.cat(list(self.speak(priors, noises[row], g, repeat(_MOST_FRAMES))), 1)[0])
        samples = torch.tensor([len(wave) for wave in waves], device=self.device)
        return Audio(nn.utils.rnn.pad_sequence(waves, batch_first=True), samples, self.sample_rate)

    def stream(
        self, units: Units | Iterable[Units], style: Style, generator: torch.Generator, window: Window | None = None
    ) -> Iterator[Audio]:
        """Sound of one row in pieces, the first as early as can be; the work is done as pieces are asked for.

        With all `units` given, the pieces joined are what `decode` gives. Units that arrive piece by piece are spoken
        within windows (`Window()` where none is given), and the pieces joined are what `decode` gives with that window.
        """
        if isinstance(units, Units):
            pieces: Iterator[Tensor] = iter(list(self._codes([units])))
        else:
            pieces, window = self._codes(units), window or Window()
        vector = style_vector(style, self.style_dim, self.style_space, 1, self.device)
        g = None if vector is None else vector[..., None]  # [1, G, 1]
        noise = self.noise(generator)
        most = _MOST_FRAMES if isinstance(units, Units) else ARRIVING_FRAMES
        growing = (_FIRST_FRAMES << step for step in range(1, (most // _FIRST_FRAMES).bit_length()))
        sizes = chain([self.reach + _FIRST_FRAMES], growing, repeat(most))
        waves = self.speak(self._priors(pieces, noise, g, window), noise, g, sizes)
        return (Audio(wave, torch.tensor([wave.shape[1]], device=wave.device), self.sample_rate) for wave in waves)

    def _codes(self, pieces: Iterable[Units]) -> Iterator[Tensor]:
        """Checked codes [1, K, T] of every piece."""
        for piece in pieces:
            codes = unit_codes(piece, self.codebooks, self.vocab_id, self.layout, self.device)
            if len(codes) != 1:
                raise DataError(f"A stream speaks one row of units, {len(codes)} were given; decode takes batches.")
            yield codes[..., : int(piece.lengths[0])]

    # ---- units → priors

    def prior(self, codes: Tensor, noise: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """States [1, H, T], mean and log scale [1, C, T] and durations in frames [1, T] of codes [1, K, T].

        `noise` [1, 2, T] is scaled.
        """
        mask = torch.ones_like(codes[:, :1], dtype=torch.float32)
        hidden, mean, log_scale = self.enc_p(codes, mask)
        if isinstance(self.dp, StochasticDurationPredictor):
            log_frames = self.dp.log_durations(hidden, mask, noise, g)
        else:
            log_frames = self.dp.log_durations(hidden, mask, g)
        return hidden, mean, log_scale, log_frames[:, 0].float().exp().clamp(max=self.longest_unit)

    def _priors(
        self,
        pieces: Iterator[Tensor],
        noise: Noise,
        g: Tensor | None,
        window: Window | None,
        told: Tensor | None = None,
    ) -> Iterator[UnitPrior]:
        """Priors of the codes [1, K, T] in `pieces`: all of them at once, or window by window as they come.

        `told` [1, T] are durations in frames that stand in for predicted ones.
        """
        count = FrameCount(rounded=self.layout == "frame" or told is not None)
        window = window or _EVERYTHING
        codes: Tensor | None = None
        first = done = number = 0  # the unit that `codes` begins with, the first that was not given, and its block
        for piece in chain(pieces, [None]):
            if piece is not None:
                codes = piece if codes is None else torch.cat([codes, piece], -1)
            if codes is None:
                raise DataError("No units came: the stream of units ended before its first one.")
            total, ended = first + codes.shape[-1], piece is None
            while done + window.size(number) + window.after <= total or (ended and done < total):
                stop, number = min(done + window.size(number), total), number + 1
                low, high = max(0, done - window.before), min(stop + window.after, total)
                drawn = noise.units(low, high) * self.duration_noise_scale
                hidden, mean, log_scale, frames = self.prior(codes[..., low - first : high - first], drawn, g)
                inner = slice(done - low, stop - low)
                frames = frames[:, inner] if told is None else told[:, done:stop]
                last = ended and stop == total
                yield UnitPrior(hidden[..., inner], mean[..., inner], log_scale[..., inner], count(frames, last), last)
                done = stop
            keep = max(0, done - window.before)
            codes, first = codes[..., keep - first :], keep

    # ---- priors → sound

    @torch.no_grad()
    def speak(
        self, priors: Iterable[UnitPrior], noise: Noise, g: Tensor | None, sizes: Iterator[int]
    ) -> Iterator[Tensor]:
        """Waves [1, S] of what `priors` say, one after the other; `sizes` are the frames to compute at a time."""
        refine, flow, head = self._refining(g), self._flowing(g), self._sounding(g)
        at_once = _HEAD_FRAMES if self.device.type == "cpu" else _HEAD_FRAMES_ON_DEVICE
        frame = 0
        for features, last in _regrouped(self._frames(priors), sizes):
            mean, log_scale = refine(features, last).chunk(2, 1)  # [1, C, L]
            drawn = noise.frames(frame, frame + mean.shape[-1]) * self.noise_scale
            frame += mean.shape[-1]
            z = flow(mean + drawn * bounded(log_scale).exp(), last)
            parts = z.split(at_once, -1)
            for index, part in enumerate(parts):
                wave = head(part, last and index == len(parts) - 1)[:, 0]
                if wave.shape[-1]:
                    yield sound_of(wave)

    def _frames(self, priors: Iterable[UnitPrior]) -> Iterator[tuple[Tensor, bool]]:
        """What is known of frames before their neighbours are looked at [1, ·, L], and whether they are the last."""
        for prior in priors:
            total = int(prior.durations.sum())
            path = path_of(prior.durations, total)  # [1, L]
            units = torch.cat([prior.mean, prior.log_scale], 1)
            if self.frame_prior is not None:
                units = torch.cat([units, prior.hidden], 1)
                place = place_in_unit(prior.durations, path)[:, None].to(units)
            for start in range(0, max(total, 1), _MOST_FRAMES):
                stretch = slice(start, start + _MOST_FRAMES)
                features = take_units(units, path[:, stretch])
                if self.frame_prior is not None:
                    features = torch.cat([features, place[..., stretch]], 1)
                yield features, prior.last and stretch.stop >= total

    def _refining(self, g: Tensor | None) -> Stage:
        """Features of frames → their mean and log scale [1, 2 · C, L]."""
        network, dim = self.frame_prior, self.latent_dim
        if network is None:
            return lambda x, last: x

        def refined(x: Tensor) -> Tensor:
            mean, log_scale, hidden, place = x.split([dim, dim, x.shape[1] - 2 * dim - 1, 1], 1)
            return torch.cat(network(hidden, place[:, 0], mean, log_scale, torch.ones_like(place), g), 1)

        return Overlapped(refined, network.reach, 2 * dim)

    def _flowing(self, g: Tensor | None) -> Stage:
        """Latents of the prior → latents [1, C, L]."""
        return FlowStream(self.flow, g)

    def _sounding(self, g: Tensor | None) -> Stage:
        """Latents → wave [1, 1, S]."""
        head = self.dec
        if not isinstance(head, IstftHead):
            return head.begin(g)
        if isinstance(head, SourceHead):
            return SourceStage(head, g, self.precision)

        def sound(z: Tensor) -> Tensor:
            with torch.autocast(z.device.type, self.precision, enabled=self.precision != torch.float32):
                return head(z, g)

        return Overlapped(sound, head.reach, 1, self.hop_size)


def _regrouped(pieces: Iterable[tuple[Tensor, bool]], sizes: Iterator[int]) -> Iterator[tuple[Tensor, bool]]:
    """Pieces [1, ·, L] as pieces of the `sizes` that are asked for; the last one, marked as such, is what remains."""
    size = next(sizes)
    waiting: Tensor | None = None
    for piece, last in pieces:
        waiting = piece if waiting is None else torch.cat([waiting, piece], -1)
        while waiting.shape[-1] > size or (waiting.shape[-1] == size and not last):
            yield waiting[..., :size], False
            waiting, size = waiting[..., size:], next(sizes)
        if last:
            yield waiting, True
