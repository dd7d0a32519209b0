"""`detokenizer/uvits`: units and a style vector → waveform, by a conditional VITS with a reference encoder.

Letters: B batch, K codebooks, T units, L latent frames, C latent channels, F frequency bins, G style width, S samples.
Module names and shapes are those of published EMOVA weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.contracts import DERIVED, AudioPort, Contract, Free, OneOf, StylePort, UnitsPort
from omnikit.detokenizers import uvits_sizes as sizes
from omnikit.detokenizers.told_styles import check_hears, deafen, style_to_learn
from omnikit.detokenizers.uvits_checks import derived_ready, unit_codes
from omnikit.detokenizers.uvits_graph import DecodingGraph
from omnikit.detokenizers.uvits_voice import ARRIVING_FRAMES, LONGEST_UNIT_S, Voice, Window
from omnikit.errors import ContractError, DataError, MediaError, OmnikitError, unknown_name
from omnikit.nn.alignment import durations_of, monotonic_path, path_of, take_units, whole_frames
from omnikit.nn.discriminators import WaveDiscriminator
from omnikit.nn.duration import DurationPredictor, StochasticDurationPredictor
from omnikit.nn.flow import CouplingFlow
from omnikit.nn.folding import Remade
from omnikit.nn.frame_prior import FramePrior, place_in_unit
from omnikit.nn.hifigan import HiFiGAN
from omnikit.nn.hifigan import head_reach as hifigan_reach
from omnikit.nn.istft_head import IstftHead
from omnikit.nn.istft_head import head_reach as istft_reach
from omnikit.nn.pitch import pitch_at
from omnikit.nn.processes import mean_over_processes, most_over_processes
from omnikit.nn.row_noise import RowNoise
from omnikit.nn.source_head import SourceHead
from omnikit.nn.source_head import head_reach as source_reach
from omnikit.nn.spectrogram import Spectrogram
from omnikit.nn.style_encoder import StyleEncoder
from omnikit.nn.vits_encoders import PosteriorEncoder, UnitEncoder
from omnikit.nn.vits_losses import bounded, frame_log_likelihood, kl_loss, mel_loss, stft_loss
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch, VoiceOutput
from omnikit.slots.graph import Graph, decoding_inputs
from omnikit.slots.groups import plain, read_group
from omnikit.types import Audio, Losses, Style, Units

SPECTROGRAM = plain(sizes.SpectrogramSizes())
UNIT_ENCODER = plain(sizes.UnitEncoderSizes())
LATENT = plain(sizes.LatentSizes())
DURATION = plain(sizes.DurationSizes())
REFERENCE = plain(sizes.ReferenceSizes())
HIFIGAN = plain(sizes.HifiganSizes())
ISTFT = plain(sizes.IstftSizes())
DISCRIMINATOR = plain(sizes.DiscriminatorSizes())
OBJECTIVE = plain(sizes.ObjectiveSizes())

_DURATION_SLACK_FRAMES = 4


@dataclass(frozen=True)
class VoiceNoise:
    """The random numbers of one training forward.

    Normal: `posterior` [B, C, L] and `duration` [B, 2, T]; uniform: `start` [B].
    """

    posterior: Tensor
    duration: Tensor
    start: Tensor


def _mask(lengths: Tensor, num_steps: int) -> Tensor:
    """1 where a step is valid: lengths [B] → [B, 1, T]."""
    return (torch.arange(num_steps, device=lengths.device) < lengths[:, None])[:, None].float()


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout off and no gradients while inside."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


class UVITS(Detokenizer):
    """Unit-to-speech VITS.

    Args:
        layout: `reduced` aligns merged units by itself and predicts durations by a flow; `frame` learns from known
            durations and predicts the mean length of every unit.
        head: `hifigan` or `istft`; the group of the other one is ignored.
        spectrogram, unit_encoder, latent, duration, reference, hifigan, istft, discriminator, objective: groups of
            plain data, their keys in `uvits_sizes`; keys left out keep their published values.

    Contract: units at `unit_rate` Hz, a style vector of `style_dim` numbers (none when 0) → mono at `sample_rate` Hz.
    Ref: Kim et al., VITS, ICML 2021; Chen et al., "EMOVA: Empowering Language Models to See, Hear and Speak with Vivid
        Emotions", CVPR 2025, section 3.2 (units in, style embedding from a reference encoder).
    """

    def __init__(
        self,
        *,
        codebooks: Sequence[int] = DERIVED,
        vocab_id: str = DERIVED,
        unit_rate: Any = DERIVED,
        style_dim: int = DERIVED,
        style_space: str | None = DERIVED,
        layout: Literal["reduced", "frame"] = "reduced",
        sample_rate: int = 22_050,
        head: Literal["hifigan", "istft"] = "hifigan",
        spectrogram: Mapping[str, Any] = SPECTROGRAM,
        unit_encoder: Mapping[str, Any] = UNIT_ENCODER,
        latent: Mapping[str, Any] = LATENT,
        duration: Mapping[str, Any] = DURATION,
        reference: Mapping[str, Any] = REFERENCE,
        hifigan: Mapping[str, Any] = HIFIGAN,
        istft: Mapping[str, Any] = ISTFT,
        discriminator: Mapping[str, Any] = DISCRIMINATOR,
        objective: Mapping[str, Any] = OBJECTIVE,
    ) -> None:
        super().__init__()
        derived_ready(
            codebooks=codebooks, vocab_id=vocab_id, unit_rate=unit_rate, style_dim=style_dim, style_space=style_space
        )
        if layout not in ("reduced", "frame"):
            raise unknown_name("layout of detokenizer/uvits", layout, ("reduced", "frame"))
        if head not in ("hifigan", "istft"):
            raise unknown_name("head of detokenizer/uvits", head, ("hifigan", "istft"))
        spectra = read_group(sizes.SpectrogramSizes, "spectrogram", spectrogram)
        unit = read_group(sizes.UnitEncoderSizes, "unit_encoder", unit_encoder)
        space = read_group(sizes.LatentSizes, "latent", latent)
        timing = read_group(sizes.DurationSizes, "duration", duration)
        style = read_group(sizes.ReferenceSizes, "reference", reference)
        gan = read_group(sizes.HifiganSizes, "hifigan", hifigan)
        fourier = read_group(sizes.IstftSizes, "istft", istft)
        sizes.check_sizes(spectra, unit, space, gan if head == "hifigan" else None)
        self.adversary = read_group(sizes.DiscriminatorSizes, "discriminator", discriminator)
        self.objective = read_group(sizes.ObjectiveSizes, "objective", objective)

        self.codebooks, self.vocab_id, self.layout = tuple(codebooks), vocab_id, layout
        self.style_dim, self.style_space, self.sample_rate = int(style_dim), style_space, sample_rate
        self.hop_size, self.latent_dim = spectra.hop_size, space.dim
        self.frame_rate = Fraction(sample_rate, spectra.hop_size)
        self.noise_scale, self.duration_noise_scale = 0.667, 0.8
        """Standard deviations of decoding's noise, in units of the prior's."""

        self._kept_voice: Remade[Voice] = Remade()

        self.spectrogram = Spectrogram(sample_rate, **vars(spectra))
        num_bins, style_width = self.spectrogram.num_bins, self.style_dim
        self.enc_p = UnitEncoder(self.codebooks, latent_dim=space.dim, **vars(unit))
        self.enc_q = PosteriorEncoder(
            num_bins, space.dim, space.hidden_dim, space.kernel_size, space.posterior_layers, style_width
        )
        self.flow = CouplingFlow(
            space.dim, space.hidden_dim, space.kernel_size, space.flow_layers, space.num_flows, style_width
        )
        self.dp: StochasticDurationPredictor | DurationPredictor
        if layout == "reduced":
            self.dp = StochasticDurationPredictor(
                unit.hidden_dim, timing.kernel_size, timing.num_flows, timing.dropout, style_width
            )
        else:
            frames_per_unit = float(self.frame_rate / Fraction(unit_rate))
            self.dp = DurationPredictor(
                unit.hidden_dim,
                timing.filter_dim,
                timing.kernel_size,
                frames_per_unit,
                timing.dropout,
                style_width,
                timing.teaches_style,
            )
        self.frame_prior: FramePrior | None = None
        if space.frame_prior_layers:
            if layout == "reduced":
                raise OmnikitError(
                    "detokenizer/uvits: latent.frame_prior_layers needs known durations, and layout 'reduced' finds\n"
                    "its own by comparing frames with whole units. Take layout 'frame', or 0 layers."
                )
            self.frame_prior = FramePrior(
                unit.hidden_dim, space.dim, space.hidden_dim, space.kernel_size, space.frame_prior_layers, style_width
            )
        self.dec: HiFiGAN | IstftHead
        if head == "hifigan":
            self.dec = HiFiGAN(space.dim, style_dim=style_width, **vars(gan))
        else:
            widths = (space.dim, fourier.hidden_dim, fourier.ffn_dim, fourier.num_layers)
            framing = (spectra.fft_size, spectra.hop_size, style_width)
            self.dec = SourceHead(*widths, *framing, sample_rate) if fourier.source else IstftHead(*widths, *framing)
        if style_width:
            shape = {name: value for name, value in vars(style).items() if name != "num_speakers"}
            self.enc_r = StyleEncoder(num_bins, style_dim=style_width, **shape)
            if style.num_speakers:
                self.emb_g = nn.Embedding(style.num_speakers, style_width)

    @classmethod
    def contract(cls, **parameters: Any) -> Contract:
        """Units of one vocabulary and a style vector in; audio out."""
        codebooks, rate = parameters["codebooks"], parameters["unit_rate"]
        lookahead = None if isinstance(rate, Free) else 1000 * _lookahead_s(parameters)
        return Contract(
            needs={
                "units": UnitsPort(
                    codebooks=codebooks if isinstance(codebooks, Free) else tuple(codebooks),
                    rate=rate if isinstance(rate, Free) else Fraction(rate),
                    layout=parameters["layout"],
                    vocab_id=parameters["vocab_id"],
                ),
                "style": StylePort(
                    view=OneOf(("vector", "none")), dim=parameters["style_dim"], space_id=parameters["style_space"]
                ),
            },
            gives={"audio": AudioPort(sample_rate=parameters["sample_rate"])},
            lookahead_ms=lookahead,
        )

    # ---- decoding

    def voice(self) -> Voice:
        """What decoding needs and nothing else, with its head in `precision`; kept until a weight changes.

        To decode in less memory, keep this and let go of the component.
        """
        parts = (self.enc_p, self.dp, self.flow, self.dec, self.frame_prior)
        weights = chain.from_iterable(part.parameters() for part in parts if part is not None)
        chosen = (self.precision, self.noise_scale, self.duration_noise_scale, self.style_space)
        return self._kept_voice.get(weights, lambda: Voice(self), *chosen)

    def decode(self, units: Units, style: Style, generator: torch.Generator, durations: Tensor | None = None) -> Audio:
        """Waveforms of `units` in `style`; on the CPU the same generator state gives the same sound.

        `durations` [B, T] says how many frames every unit lasts; None: as predicted. Rows are made one by one, and
        their sound in blocks of frames, which changes no sample: long rows need little more memory than their sound.

        Raises `WeightsError` for units of another vocabulary, `ContractError` for another layout, codebook size or
        style space or a missing style vector, `DataError` for a unit out of range, an empty row or bad durations.
        """
        return self.voice().decode(units, style, generator, durations)

    def stream(
        self, units: Units | Iterable[Units], style: Style, generator: torch.Generator, window: Window | None = None
    ) -> Iterator[Audio]:
        """Sound of one row of `units` in pieces, the first as early as can be.

        With all units given, the pieces joined are what `decode` gives. Units that arrive piece by piece are spoken
        within a `window` around them (None: `Window()`), which is what `voice().decode(…, window=…)` gives; how they
        were cut does not change the sound.

        Raises as `decode` does, and `DataError` for several rows or no units.
        """
        return self.voice().stream(units, style, generator, window)

    def as_graph(self) -> Graph:
        """`decode` of one row, without noise: what `noise_scale` and `duration_noise_scale` of 0 give."""
        longest = LONGEST_UNIT_S * float(self.frame_rate)
        module = DecodingGraph(self.enc_p, self.dp, self.flow, self.dec, self.frame_prior, longest)
        inputs = decoding_inputs(self.codebooks, self.style_dim, self.device)
        return Graph(module, inputs, ("wave",), samples=bool(self.noise_scale or self.duration_noise_scale))

    def style_vectors(self, audio: Audio) -> Tensor | None:
        """Unit-length reference embeddings [B, G] of recordings, each computed alone; None without a style input.

        Raises `ContractError` for another sample rate, `MediaError` for a recording shorter than one frame,
        `OmnikitError` for a voice whose style vectors come from outside.
        """
        if not self.style_dim:
            return None
        check_hears(self.enc_r, self.style_space)
        self._check_rate(audio)
        vectors = []
        with _evaluating(self):
            for row, length in enumerate(audio.lengths.tolist()):
                if length < self.hop_size:
                    raise MediaError(
                        f"Recording {row} has {length} samples; a style needs at least {self.hop_size} "
                        f"({1000 * self.hop_size / self.sample_rate:.0f} ms)."
                    )
                wave = audio.wave[row : row + 1, :length].to(self.device)
                spectrum, frames = self.spectrogram.linear(wave, torch.tensor([length], device=self.device))
                vectors.append(self.enc_r(spectrum, _mask(frames, spectrum.shape[-1])))
        return torch.cat(vectors)

    def use_told_styles(self, space_id: str) -> None:
        """Take style vectors of the space `space_id` from outside; its reference encoder becomes zero, and stays it.

        Raises `OmnikitError` for a voice without a style input.
        """
        if not self.style_dim:
            super().use_told_styles(space_id)
        deafen(self.enc_r)
        self.style_space = self.parameters_given["style_space"] = space_id

    # ---- training

    def prior(
        self, units: tuple[Tensor, Tensor, Tensor], durations: Tensor, path: Tensor, mask: Tensor, g: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and log scale [B, C, L] of every frame.

        `units` are states [B, H, T], mean and log scale [B, C, T]; `durations` [B, T] are whole, `path` [B, L] is the
        unit of every frame.
        """
        hidden, mean, log_scale = units
        mean, log_scale = take_units(mean, path), take_units(log_scale, path)
        if self.frame_prior is None:
            return mean, log_scale
        place = place_in_unit(durations, path)
        return self.frame_prior(take_units(hidden, path), place, mean, log_scale, mask, g)

    def make_discriminator(self) -> nn.Module:
        """A fresh adversary: waveform [B, 1, S] → (scores, feature maps)."""
        return WaveDiscriminator(**vars(self.adversary))

    def training_forward(self, batch: VoiceBatch, generator: torch.Generator) -> VoiceOutput:
        """Mel, KL and duration losses of a batch, with the real and generated segments.

        Raises as `decode` does, and `DataError` for durations or recordings that do not belong to the units, or style
        vectors that nobody tells.
        """
        draws = RowNoise(batch.places, generator, self.device)
        frames, num_units = (batch.audio.lengths // self.hop_size).tolist(), batch.units.lengths.tolist()
        noise = VoiceNoise(
            posterior=draws.normal(self.latent_dim, frames, max(frames)),
            duration=draws.normal(2, num_units, batch.units.codes.shape[-1]),
            start=draws.uniform(),
        )
        return self.learn(batch, noise)

    def learn(self, batch: VoiceBatch, noise: VoiceNoise) -> VoiceOutput:
        """`training_forward` with given random numbers."""
        self._check_rate(batch.audio)
        codes = unit_codes(batch.units, self.codebooks, self.vocab_id, self.layout, self.device)
        num_units = batch.units.lengths.to(self.device)
        unit_mask = _mask(num_units, codes.shape[-1])
        wave, samples = batch.audio.wave.to(self.device), batch.audio.lengths.to(self.device)
        longest = int(most_over_processes(samples.max()))  # published style encoders see how far a batch is padded
        wave = functional.pad(wave, (0, longest - wave.shape[1]))
        spectrum, frames = self.spectrogram.linear(wave, samples)  # [B, F, L]
        self._check_frames(frames)
        known = None
        if self.layout == "frame":
            known = self._known_durations(batch, frames)
            frames = frames.minimum(known.double().sum(1).round().long())
        mask = _mask(frames, spectrum.shape[-1])
        encoder = self.enc_r if self.style_dim else None
        style = style_to_learn(batch, encoder, spectrum, mask, self.style_dim, self.style_space)
        g = None if style is None else style[..., None]  # [B, G, 1]

        hidden, mean, log_scale = self.enc_p(codes, unit_mask)
        mean_q, log_scale_q = self.enc_q(spectrum, mask, g)
        drawn = functional.pad(noise.posterior, (0, mask.shape[-1] - noise.posterior.shape[-1]))
        z = (mean_q.float() + drawn * bounded(log_scale_q).exp()) * mask
        z_p = self.flow(z, mask, g)
        if isinstance(self.dp, StochasticDurationPredictor):
            path = monotonic_path(
                frame_log_likelihood(z_p.detach(), mean.detach(), log_scale.detach()), frames, num_units
            )
            durations = durations_of(path, frames, codes.shape[-1]).float()[:, None]  # [B, 1, T]
            duration_loss = self.dp.loss(hidden, unit_mask, durations, noise.duration, g)
            durations = durations[:, 0].long()
        else:
            durations = whole_frames(known)
            path = path_of(durations, spectrum.shape[-1])
            duration_loss = self.dp.loss(hidden, unit_mask, known[:, None], g)
        told = self.prior((hidden, mean, log_scale), durations, path, mask, g)

        size = self.objective.segment_frames
        start = (noise.start * (frames - size + 1).clamp(min=1)).long()  # [B]
        at = start[:, None] + torch.arange(size, device=self.device)  # [B, segment]
        valid = at < frames[:, None]
        counted = valid & batch.counts
        z = _cut(z, at) * valid[:, None]
        parts = {}
        if isinstance(self.dec, SourceHead):
            hz = pitch_at(wave, at, self.sample_rate, self.hop_size)
            course, apart = self.dec.taught(hz, z, g, start, counted)
            parts["pitch"] = self.objective.pitch_weight * apart
            fake = self.dec(z, g, course).float()  # [B, 1, S]
        else:
            fake = self.dec(z, g).float()  # [B, 1, S]
        real = _cut(wave[:, None], _samples_of(at, self.hop_size))
        audible = valid.repeat_interleave(self.hop_size, 1)[:, None]
        real, fake = real * audible, fake * audible
        whole = torch.full_like(frames, fake.shape[-1])
        fake_mel = self.spectrogram.log_mel(self.spectrogram.linear(fake[:, 0], whole)[0])
        parts |= {
            "mel": self.objective.mel_weight
            * mel_loss(self.spectrogram.log_mel(_cut(spectrum, at)), fake_mel, counted),
            "kl": self.objective.kl_weight * kl_loss(z_p, log_scale_q, *told, mask * batch.counts),
            "duration": mean_over_processes(duration_loss.sum() * batch.counts, unit_mask.sum() * batch.counts),
        }
        if self.objective.stft_sizes:
            distance = stft_loss(real, fake, self.objective.stft_sizes, batch.counts)
            parts["stft"] = self.objective.stft_weight * distance
        total = torch.stack(list(parts.values())).sum()
        losses = Losses(total, {name: loss.detach() for name, loss in parts.items()})
        return VoiceOutput(real, fake, losses, durations, style if batch.style is None else None)

    def _known_durations(self, batch: VoiceBatch, frames: Tensor) -> Tensor:
        """Frames of every unit [B, T], zero beyond each row."""
        if batch.durations is None:
            raise DataError(
                "detokenizer/uvits with layout 'frame' learns from known durations, and the batch has none.\n"
                "Give VoiceBatch.durations (frames per unit), or take layout 'reduced', which aligns by itself."
            )
        valid = torch.arange(batch.durations.shape[1]) < batch.units.lengths.cpu()[:, None]
        known = batch.durations.to(self.device).float() * valid.to(self.device)
        apart = (known.sum(1) - frames).abs()
        row = int(apart.argmax())
        if apart[row] > _DURATION_SLACK_FRAMES:
            raise DataError(
                f"Row {row}: the durations add up to {float(known[row].sum()):g} frames, the recording has "
                f"{int(frames[row])}.\nDurations count frames of {self.hop_size} samples at {self.sample_rate} Hz; "
                f"they may differ by {_DURATION_SLACK_FRAMES} frames in all."
            )
        return known

    def _check_rate(self, audio: Audio) -> None:
        if audio.sample_rate != self.sample_rate:
            raise ContractError(
                f"The audio is at {audio.sample_rate} Hz, detokenizer/uvits was made for {self.sample_rate} Hz.\n"
                f"Resample it to {self.sample_rate} Hz first."
            )

    def _check_frames(self, frames: Tensor) -> None:
        empty = (frames < 1).nonzero().flatten().tolist()
        if empty:
            raise MediaError(f"Recording {empty[0]} is shorter than one frame of {self.hop_size} samples.")


def _lookahead_s(parameters: Mapping[str, Any]) -> float:
    """Seconds of units on their clock, and of frames, that a streamed moment of sound waits for at most."""
    spectra = read_group(sizes.SpectrogramSizes, "spectrogram", parameters["spectrogram"])
    space = read_group(sizes.LatentSizes, "latent", parameters["latent"])
    frames = (space.num_flows * space.flow_layers + space.frame_prior_layers) * (space.kernel_size // 2)
    if parameters["head"] == "hifigan":
        gan = read_group(sizes.HifiganSizes, "hifigan", parameters["hifigan"])
        frames += hifigan_reach(gan.rates, gan.rate_kernels, gan.kernels, gan.dilations)
    else:
        fourier = read_group(sizes.IstftSizes, "istft", parameters["istft"])
        reach = source_reach if fourier.source else istft_reach
        frames += reach(fourier.num_layers, spectra.fft_size, spectra.hop_size)
    of_units = Window().lookahead / float(Fraction(parameters["unit_rate"]))
    frames += ARRIVING_FRAMES - 1
    return of_units + frames * spectra.hop_size / parameters["sample_rate"]


def _cut(x: Tensor, at: Tensor) -> Tensor:
    """The steps `at` [B, N] of x [B, C, T] → [B, C, N]; steps beyond the end repeat the last."""
    at = at.clamp(max=x.shape[-1] - 1)
    return x.gather(2, at[:, None].expand(-1, x.shape[1], -1))


def _samples_of(frames: Tensor, hop_size: int) -> Tensor:
    """The samples [B, N · hop] of frames [B, N]."""
    return (frames[..., None] * hop_size + torch.arange(hop_size, device=frames.device)).flatten(1)
