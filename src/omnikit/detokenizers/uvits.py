"""`detokenizer/uvits`: units and a style vector → waveform, by a conditional VITS with a reference encoder.

Letters: B batch, K codebooks, T units, L latent frames, C latent channels, F frequency bins, G style width, S samples.
Module names and shapes are those of published EMOVA weights.

Ref: Kim et al., VITS, ICML 2021; Chen et al., "EMOVA: Empowering Language Models to See, Hear and Speak with Vivid
Emotions", CVPR 2025, section 3.2 (units in, style embedding from a reference encoder).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, nn

from omnikit.contracts import DERIVED, AudioPort, Contract, Free, OneOf, StylePort, UnitsPort
from omnikit.detokenizers import uvits_sizes as sizes
from omnikit.detokenizers.uvits_checks import derived_ready, style_vector, unit_codes
from omnikit.errors import ContractError, DataError, MediaError, unknown_name
from omnikit.nn.alignment import durations_of, monotonic_path, path_of, take_units, whole_frames
from omnikit.nn.discriminators import WaveDiscriminator
from omnikit.nn.duration import DurationPredictor, StochasticDurationPredictor
from omnikit.nn.flow import CouplingFlow
from omnikit.nn.hifigan import HiFiGAN
from omnikit.nn.istft_head import IstftHead
from omnikit.nn.spectrogram import Spectrogram
from omnikit.nn.style_encoder import StyleEncoder
from omnikit.nn.vits_encoders import PosteriorEncoder, UnitEncoder
from omnikit.nn.vits_losses import bounded, frame_log_likelihood, kl_loss, mel_loss
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch, VoiceOutput
from omnikit.types import Audio, Losses, Style, Units

SPECTROGRAM = sizes.plain(sizes.SpectrogramSizes)
UNIT_ENCODER = sizes.plain(sizes.UnitEncoderSizes)
LATENT = sizes.plain(sizes.LatentSizes)
DURATION = sizes.plain(sizes.DurationSizes)
REFERENCE = sizes.plain(sizes.ReferenceSizes)
HIFIGAN = sizes.plain(sizes.HifiganSizes)
ISTFT = sizes.plain(sizes.IstftSizes)
DISCRIMINATOR = sizes.plain(sizes.DiscriminatorSizes)
OBJECTIVE = sizes.plain(sizes.ObjectiveSizes)

_LONGEST_UNIT_S = 5.0
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


def _normal(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(tuple(shape), generator=generator, device=generator.device).to(device)


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
        spectra = sizes.read_group(sizes.SpectrogramSizes, "spectrogram", spectrogram)
        unit = sizes.read_group(sizes.UnitEncoderSizes, "unit_encoder", unit_encoder)
        space = sizes.read_group(sizes.LatentSizes, "latent", latent)
        timing = sizes.read_group(sizes.DurationSizes, "duration", duration)
        style = sizes.read_group(sizes.ReferenceSizes, "reference", reference)
        gan = sizes.read_group(sizes.HifiganSizes, "hifigan", hifigan)
        fourier = sizes.read_group(sizes.IstftSizes, "istft", istft)
        sizes.check_sizes(spectra, unit, space, gan if head == "hifigan" else None)
        self.adversary = sizes.read_group(sizes.DiscriminatorSizes, "discriminator", discriminator)
        self.objective = sizes.read_group(sizes.ObjectiveSizes, "objective", objective)

        self.codebooks, self.vocab_id, self.layout = tuple(codebooks), vocab_id, layout
        self.style_dim, self.style_space, self.sample_rate = int(style_dim), style_space, sample_rate
        self.hop_size, self.latent_dim = spectra.hop_size, space.dim
        self.frame_rate = Fraction(sample_rate, spectra.hop_size)
        self.noise_scale, self.duration_noise_scale = 0.667, 0.8
        """Standard deviations of decoding's noise, in units of the prior's."""

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
                unit.hidden_dim, timing.filter_dim, timing.kernel_size, frames_per_unit, timing.dropout, style_width
            )
        self.dec: HiFiGAN | IstftHead
        if head == "hifigan":
            self.dec = HiFiGAN(space.dim, style_dim=style_width, **vars(gan))
        else:
            self.dec = IstftHead(
                space.dim, fft_size=spectra.fft_size, hop_size=spectra.hop_size, style_dim=style_width, **vars(fourier)
            )
        if style_width:
            shape = {name: value for name, value in vars(style).items() if name != "num_speakers"}
            self.enc_r = StyleEncoder(num_bins, style_dim=style_width, **shape)
            if style.num_speakers:
                self.emb_g = nn.Embedding(style.num_speakers, style_width)

    @classmethod
    def contract(cls, **parameters: Any) -> Contract:
        """Units of one vocabulary and a style vector in; audio out."""
        codebooks, rate = parameters["codebooks"], parameters["unit_rate"]
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
        )

    # ---- decoding

    def frame_durations(self, hidden: Tensor, mask: Tensor, noise: Tensor, g: Tensor | None) -> Tensor:
        """Whole frames per unit [B, T] from unit states [B, H, T]; `noise` [B, 2, T] is scaled already."""
        if isinstance(self.dp, StochasticDurationPredictor):
            log_frames = self.dp.log_durations(hidden, mask, noise, g)
        else:
            log_frames = self.dp.log_durations(hidden, mask, g)
        frames = log_frames.float().exp().clamp(max=_LONGEST_UNIT_S * float(self.frame_rate)) * mask
        if self.layout == "reduced":
            return frames.ceil()[:, 0].long()
        whole = whole_frames(frames[:, 0])
        whole[:, 0] += (whole.sum(1) == 0).long()
        return whole

    def latents(self, mean: Tensor, log_scale: Tensor, durations: Tensor, noise: Tensor, g: Tensor | None) -> Tensor:
        """Latents [B, C, L] of a prior [B, C, T] expanded by `durations` [B, T]; `noise` [B, C, L] is scaled."""
        frames = durations.sum(1)
        path = path_of(durations, noise.shape[-1])
        mask = _mask(frames, noise.shape[-1])
        z_p = take_units(mean, path) + noise * take_units(bounded(log_scale), path).exp()
        return self.flow.inverse(z_p * mask, mask, g) * mask

    def decode(self, units: Units, style: Style, generator: torch.Generator) -> Audio:
        """Waveforms of `units` in `style`; on the CPU the same generator state gives the same sound.

        Raises `WeightsError` for units of another vocabulary, `ContractError` for another layout, codebook size or
        style space or a missing style vector, `DataError` for a unit out of range or an empty row.
        """
        codes = unit_codes(units, self.codebooks, self.vocab_id, self.layout, self.device)
        vector = style_vector(style, self.style_dim, self.style_space, len(codes), self.device)
        g = None if vector is None else vector[..., None]  # [B, G, 1]
        with _evaluating(self):
            mask = _mask(units.lengths.to(self.device), codes.shape[-1])
            noise = _normal((len(codes), 2, codes.shape[-1]), generator, self.device) * self.duration_noise_scale
            hidden, mean, log_scale = self.enc_p(codes, mask)
            durations = self.frame_durations(hidden, mask, noise, g)
            frames = durations.sum(1)
            shape = (len(codes), self.latent_dim, int(frames.max()))
            noise = _normal(shape, generator, self.device) * self.noise_scale
            z = self.latents(mean, log_scale, durations, noise, g)
            wave = z.new_zeros(len(codes), shape[-1] * self.hop_size)
            for row, length in enumerate(frames.tolist()):  # alone, a row ends in silence and not in padding
                style_row = None if g is None else g[row : row + 1]
                sound = self.dec(z[row : row + 1, :, :length], style_row)[0, 0]
                wave[row, : length * self.hop_size] = sound.float().clamp(-1, 1)
        return Audio(wave=wave, lengths=frames * self.hop_size, sample_rate=self.sample_rate)

    def style_vectors(self, audio: Audio) -> Tensor | None:
        """Unit-length reference embeddings [B, G] of recordings, each computed alone; None without a style input.

        Raises `ContractError` for another sample rate, `MediaError` for a recording shorter than one frame.
        """
        if not self.style_dim:
            return None
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

    # ---- training

    def make_discriminator(self) -> nn.Module:
        """A fresh adversary: waveform [B, 1, S] → (scores, feature maps)."""
        return WaveDiscriminator(**vars(self.adversary))

    def training_forward(self, batch: VoiceBatch, generator: torch.Generator) -> VoiceOutput:
        """Mel, KL and duration losses of a batch, with the real and generated segments.

        Raises as `decode` does, and `DataError` for durations or recordings that do not belong to the units.
        """
        frames = int(batch.audio.lengths.max()) // self.hop_size
        num_rows, _, num_units = batch.units.codes.shape
        noise = VoiceNoise(
            posterior=_normal((num_rows, self.latent_dim, frames), generator, self.device),
            duration=_normal((num_rows, 2, num_units), generator, self.device),
            start=torch.rand(num_rows, generator=generator, device=generator.device).to(self.device),
        )
        return self.learn(batch, noise)

    def learn(self, batch: VoiceBatch, noise: VoiceNoise) -> VoiceOutput:
        """`training_forward` with given random numbers."""
        self._check_rate(batch.audio)
        codes = unit_codes(batch.units, self.codebooks, self.vocab_id, self.layout, self.device)
        num_units = batch.units.lengths.to(self.device)
        unit_mask = _mask(num_units, codes.shape[-1])
        wave, samples = batch.audio.wave.to(self.device), batch.audio.lengths.to(self.device)
        spectrum, frames = self.spectrogram.linear(wave[:, : int(samples.max())], samples)  # [B, F, L]
        self._check_frames(frames)
        known = None
        if self.layout == "frame":
            known = self._known_durations(batch, frames)
            frames = frames.minimum(known.double().sum(1).round().long())
        mask = _mask(frames, spectrum.shape[-1])
        g = self.enc_r(spectrum, mask)[..., None] if self.style_dim else None  # [B, G, 1]

        hidden, mean, log_scale = self.enc_p(codes, unit_mask)
        mean_q, log_scale_q = self.enc_q(spectrum, mask, g)
        z = (mean_q.float() + noise.posterior * bounded(log_scale_q).exp()) * mask
        z_p = self.flow(z, mask, g)
        if isinstance(self.dp, StochasticDurationPredictor):
            path = monotonic_path(
                frame_log_likelihood(z_p.detach(), mean.detach(), log_scale.detach()), frames, num_units
            )
            durations = durations_of(path, frames, codes.shape[-1]).float()[:, None]  # [B, 1, T]
            duration_loss = self.dp.loss(hidden, unit_mask, durations, noise.duration, g)
        else:
            path = path_of(whole_frames(known), spectrum.shape[-1])
            duration_loss = self.dp.loss(hidden, unit_mask, known[:, None], g)
        kl = kl_loss(z_p, log_scale_q, take_units(mean, path), take_units(log_scale, path), mask)

        size = self.objective.segment_frames
        start = (noise.start * (frames - size + 1).clamp(min=1)).long()  # [B]
        at = start[:, None] + torch.arange(size, device=self.device)  # [B, segment]
        valid = at < frames[:, None]
        fake = self.dec(_cut(z, at) * valid[:, None], g).float()  # [B, 1, S]
        real = _cut(wave[:, None], _samples_of(at, self.hop_size))
        audible = valid.repeat_interleave(self.hop_size, 1)[:, None]
        real, fake = real * audible, fake * audible
        whole = torch.full_like(frames, fake.shape[-1])
        fake_mel = self.spectrogram.log_mel(self.spectrogram.linear(fake[:, 0], whole)[0])
        parts = {
            "mel": self.objective.mel_weight * mel_loss(self.spectrogram.log_mel(_cut(spectrum, at)), fake_mel, valid),
            "kl": self.objective.kl_weight * kl,
            "duration": duration_loss.sum() / unit_mask.sum(),
        }
        total = torch.stack(list(parts.values())).sum()
        return VoiceOutput(
            real=real, fake=fake, losses=Losses(total, {name: loss.detach() for name, loss in parts.items()})
        )

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


def _cut(x: Tensor, at: Tensor) -> Tensor:
    """The steps `at` [B, N] of x [B, C, T] → [B, C, N]; steps beyond the end repeat the last."""
    at = at.clamp(max=x.shape[-1] - 1)
    return x.gather(2, at[:, None].expand(-1, x.shape[1], -1))


def _samples_of(frames: Tensor, hop_size: int) -> Tensor:
    """The samples [B, N · hop] of frames [B, N]."""
    return (frames[..., None] * hop_size + torch.arange(hop_size, device=frames.device)).flatten(1)
