"""`detokenizer/cfm_mel`: units and a style vector → mel by conditional flow matching → waveform by a vocoder.

Letters: B batch, K codebooks, T units, L frames, M mel bands, F frequency bins, G style width, S samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from omnikit.contracts import DERIVED, AudioPort, Contract, Free, MelPort, OneOf, StylePort, UnitsPort
from omnikit.detokenizers import cfm_sizes as sizes
from omnikit.detokenizers.cfm_graph import FlowGraph
from omnikit.detokenizers.cfm_vocoder import LOG_AREA, IstftVocoder, Vocoder
from omnikit.detokenizers.recordings import check_frames, check_rate, check_sum, given_durations
from omnikit.detokenizers.told_styles import check_hears, deafen, style_to_learn
from omnikit.detokenizers.uvits_checks import derived_ready, style_vector, unit_codes
from omnikit.detokenizers.uvits_sizes import DiscriminatorSizes
from omnikit.errors import ContractError, DataError, OmnikitError
from omnikit.nn.alignment import path_of, take_units, whole_frames
from omnikit.nn.cfm import euler, flow_matching_loss, transport
from omnikit.nn.discriminators import WaveDiscriminator
from omnikit.nn.duration import DurationPredictor
from omnikit.nn.frame_prior import place_in_unit
from omnikit.nn.mel_decoder import MelField
from omnikit.nn.processes import mean_over_processes
from omnikit.nn.row_noise import RowNoise
from omnikit.nn.spectrogram import Spectrogram
from omnikit.nn.steps import cut_steps, evaluating, normal, samples_of, step_mask
from omnikit.nn.style_encoder import StyleEncoder
from omnikit.nn.vits_encoders import UnitEncoder
from omnikit.nn.vits_losses import mel_loss, stft_loss
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch, VoiceOutput, sound_of
from omnikit.slots.graph import Graph, decoding_inputs
from omnikit.slots.groups import plain, read_group
from omnikit.types import Audio, Losses, Style, Units

MEL = plain(sizes.MelSizes())
UNIT_ENCODER = plain(sizes.UnitSizes())
DURATION = plain(sizes.LengthSizes())
REFERENCE = plain(sizes.StyleSizes())
FIELD = plain(sizes.FieldSizes())
VOCODER = plain(sizes.VocoderSizes())
DISCRIMINATOR = plain(DiscriminatorSizes())
OBJECTIVE = plain(sizes.GoalSizes())

NUM_STEPS = 8
TEMPERATURE = 0.667
LONGEST_S = 120.0
"""Units of more than this are refused: all of them are attended to at once."""
_LONGEST_UNIT_S = 5.0


@dataclass(frozen=True)
class FlowDraws:
    """The random numbers of one training forward: normal `noise` [B, M, L]; uniform `time` and segment `start` [B]."""

    noise: Tensor
    time: Tensor
    start: Tensor


class CfmMel(Detokenizer):
    """Unit-to-speech by conditional flow matching to a mel, and a vocoder.

    Args:
        mel, unit_encoder, duration, reference, field, vocoder, discriminator, objective: groups of plain data, their
            keys in `cfm_sizes` (discriminator: `uvits_sizes`); keys left out keep their defaults.

    The style vector comes from a reference encoder of its own, trained with everything else on the recording that is to
    be spoken; the durations teach it how fast somebody speaks. Or it comes from outside (`use_told_styles`).

    Contract: units on a clock at `unit_rate` Hz, a style vector of `style_dim` numbers (none when 0) → mono at
    `sample_rate` Hz, by way of the mel that `mel` describes.
    Ref: Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023; Mehta et al., "Matcha-TTS", ICASSP 2024
        (units in place of text, known durations in place of an alignment search); Siuzdak, "Vocos", ICLR 2024, for the
        vocoder.
    """

    def __init__(
        self,
        *,
        codebooks: Sequence[int] = DERIVED,
        vocab_id: str = DERIVED,
        unit_rate: Any = DERIVED,
        style_dim: int = DERIVED,
        style_space: str | None = DERIVED,
        sample_rate: int = 22_050,
        mel: Mapping[str, Any] = MEL,
        unit_encoder: Mapping[str, Any] = UNIT_ENCODER,
        duration: Mapping[str, Any] = DURATION,
        reference: Mapping[str, Any] = REFERENCE,
        field: Mapping[str, Any] = FIELD,
        vocoder: Mapping[str, Any] = VOCODER,
        discriminator: Mapping[str, Any] = DISCRIMINATOR,
        objective: Mapping[str, Any] = OBJECTIVE,
    ) -> None:
        super().__init__()
        derived_ready(
            codebooks=codebooks, vocab_id=vocab_id, unit_rate=unit_rate, style_dim=style_dim, style_space=style_space
        )
        self.mel = read_group(sizes.MelSizes, "mel", mel)
        unit = read_group(sizes.UnitSizes, "unit_encoder", unit_encoder)
        length = read_group(sizes.LengthSizes, "duration", duration)
        style = read_group(sizes.StyleSizes, "reference", reference)
        velocity = read_group(sizes.FieldSizes, "field", field)
        sound = read_group(sizes.VocoderSizes, "vocoder", vocoder)
        self.adversary = read_group(DiscriminatorSizes, "discriminator", discriminator)
        self.objective = read_group(sizes.GoalSizes, "objective", objective)
        _check_sizes(self.mel, unit)

        self.codebooks, self.vocab_id = tuple(codebooks), vocab_id
        self.style_dim, self.style_space, self.sample_rate = int(style_dim), style_space, sample_rate
        self.hop_size = self.mel.hop_size
        self.frame_rate, self.unit_rate = Fraction(sample_rate, self.hop_size), Fraction(unit_rate)
        spectra = {name: value for name, value in vars(self.mel).items() if name not in ("mean", "std")}
        self.spectrogram = Spectrogram(sample_rate, **spectra)
        num_mels, style_width = self.mel.num_mels, self.style_dim
        self.encoder = UnitEncoder(self.codebooks, symbol_offset=0, latent_dim=num_mels, **vars(unit))
        frames_per_unit = float(self.frame_rate / self.unit_rate)
        self.lengths = DurationPredictor(
            unit.hidden_dim,
            length.filter_dim,
            length.kernel_size,
            frames_per_unit,
            length.dropout,
            style_width,
            teaches_style=True,
        )
        self.field = MelField(num_mels, cond_dim=2 * num_mels + 1, style_dim=style_width, **vars(velocity))
        self.vocoder: Vocoder = IstftVocoder(
            mel_port(sample_rate, self.mel), self.mel.mean, self.mel.std, **vars(sound)
        )
        if style_width:
            self.reference = StyleEncoder(
                self.spectrogram.num_bins, style_dim=style_width, compress=True, mask_padding=True, **vars(style)
            )
            self.tint = nn.Conv1d(style_width, num_mels, 1)

    @classmethod
    def contract(cls, **parameters: Any) -> Contract:
        """Units of one vocabulary and a style vector in; audio out, and the mel on the way to it."""
        codebooks, rate = parameters["codebooks"], parameters["unit_rate"]
        spec = read_group(sizes.MelSizes, "mel", parameters["mel"])
        return Contract(
            needs={
                "units": UnitsPort(
                    codebooks=codebooks if isinstance(codebooks, Free) else tuple(codebooks),
                    rate=rate if isinstance(rate, Free) else Fraction(rate),
                    layout="frame",
                    vocab_id=parameters["vocab_id"],
                ),
                "style": StylePort(
                    view=OneOf(("vector", "none")), dim=parameters["style_dim"], space_id=parameters["style_space"]
                ),
            },
            gives={
                "audio": AudioPort(sample_rate=parameters["sample_rate"]),
                "mel": mel_port(parameters["sample_rate"], spec),
            },
        )

    # ---- decoding

    def decode(
        self,
        units: Units,
        style: Style,
        generator: torch.Generator,
        durations: Tensor | None = None,
        *,
        num_steps: int = NUM_STEPS,
        temperature: float = TEMPERATURE,
    ) -> Audio:
        """Waveforms of `units` in `style`; on the CPU the same generator state gives the same sound.

        Args: `durations` [B, T] frames of every unit (None: predicted); `num_steps` Euler steps; `temperature` the
        standard deviation of the noise that the flow starts from.

        Raises `WeightsError` for units of another vocabulary, `ContractError` for another layout, codebook size or
        style space or a missing style vector, `DataError` for a unit out of range, an empty row, more than two
        minutes of units or bad durations, `OmnikitError` for no steps or a negative temperature.
        """
        if not temperature >= 0:
            raise OmnikitError(f"temperature is {temperature}; 0 (the mean) to about 1 are accepted.")
        codes = self._codes(units)
        g = self._as_condition(style_vector(style, self.style_dim, self.style_space, len(codes), self.device))
        num_units = units.lengths.to(self.device)
        with evaluating(self):
            mask = step_mask(num_units, codes.shape[-1])
            hidden, mean, extra = self.encoder(codes, mask)
            if durations is None:
                longest = _LONGEST_UNIT_S * float(self.frame_rate)
                real = self.lengths.log_durations(hidden, mask, g)[:, 0].exp().clamp(max=longest) * mask[:, 0]
            else:
                real = given_durations(durations, num_units, codes.shape[-1], self.device)
            whole = whole_frames(real)
            whole[:, 0] += (whole.sum(1) == 0).long()
            frames = whole.sum(1)
            condition, frame_mask = self._condition(mean, extra, whole, frames, g)
            noise = normal((len(codes), self.mel.num_mels, condition.shape[-1]), generator, self.device)
            mel = euler(
                lambda x, time: self.field(x, condition, time, frame_mask, g),
                noise * temperature * frame_mask,
                num_steps,
            )
            log_mel = mel * self.mel.std + self.mel.mean
            wave = log_mel.new_zeros(len(codes), condition.shape[-1] * self.hop_size)
            for row, count in enumerate(frames.tolist()):  # alone, a row ends in silence and not in padding
                wave[row, : count * self.hop_size] = sound_of(self.vocoder(log_mel[row : row + 1, :, :count])[0, 0])
        return Audio(wave=wave, lengths=frames * self.hop_size, sample_rate=self.sample_rate)

    def as_graph(self) -> Graph:
        """`decode` of one row at temperature 0, in the usual number of steps.

        Raises `OmnikitError` for a vocoder of another kind than its own.
        """
        if not isinstance(self.vocoder, IstftVocoder):
            raise OmnikitError(
                f"{type(self.vocoder).__name__} has no graph; detokenizer/cfm_mel is exported with the vocoder\n"
                "that it was made with."
            )
        module = FlowGraph(
            self.encoder,
            self.lengths,
            self.field,
            self.vocoder,
            self.tint if self.style_dim else None,
            style_gain=self.style_dim**0.5,
            scale=(self.mel.mean, self.mel.std),
            longest_unit=_LONGEST_UNIT_S * float(self.frame_rate),
            num_steps=NUM_STEPS,
        )
        return Graph(module, decoding_inputs(self.codebooks, self.style_dim, self.device), ("wave",), samples=True)

    def _codes(self, units: Units) -> Tensor:
        codes = unit_codes(units, self.codebooks, self.vocab_id, "frame", self.device)
        if codes.shape[-1] > LONGEST_S * self.unit_rate:
            raise DataError(
                f"{codes.shape[-1]} units are {float(codes.shape[-1] / self.unit_rate):.0f} s; "
                f"detokenizer/cfm_mel speaks {LONGEST_S:g} s at once.\n"
                "Cut them at a pause and decode the pieces one after another."
            )
        return codes

    def _as_condition(self, vector: Tensor | None) -> Tensor | None:
        """Style vectors of length 1 [B, G] as what networks like to see: numbers of about ± 1 [B, G, 1]."""
        return None if vector is None else vector[..., None] * self.style_dim**0.5

    def _condition(
        self, mean: Tensor, extra: Tensor, durations: Tensor, frames: Tensor, g: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the field knows of every frame [B, 2 · M + 1, L] and which frames are valid [B, 1, L].

        Its first M channels are the mean mel of the unit, moved by the style; then come M free channels (`extra`) and
        the place within the unit. `durations` [B, T] are whole.
        """
        total = int(frames.max())
        path = path_of(durations, total)
        expected = take_units(mean, path)
        if g is not None:
            expected = expected + self.tint(g)
        place = place_in_unit(durations, path)[:, None].to(expected.dtype)
        mask = step_mask(frames, total)
        return torch.cat([expected, take_units(extra, path), place], 1) * mask, mask

    def style_vectors(self, audio: Audio) -> Tensor | None:
        """Unit-length reference embeddings [B, G] of recordings, each computed alone; None without a style input.

        Raises `ContractError` for another sample rate, `MediaError` for a recording shorter than one frame,
        `OmnikitError` for a voice whose style vectors come from outside.
        """
        if not self.style_dim:
            return None
        check_hears(self.reference, self.style_space)
        check_rate(audio, self.sample_rate)
        check_frames(audio.lengths // self.hop_size, self.hop_size)
        vectors = []
        with evaluating(self):
            for row, length in enumerate(audio.lengths.tolist()):
                wave = audio.wave[row : row + 1, :length].to(self.device)
                spectrum, frames = self.spectrogram.linear(wave, torch.tensor([length], device=self.device))
                vectors.append(self.reference(spectrum, step_mask(frames, spectrum.shape[-1])))
        return torch.cat(vectors)

    def use_told_styles(self, space_id: str) -> None:
        """Take style vectors of the space `space_id` from outside; its reference encoder becomes zero, and stays it.

        Raises `OmnikitError` for a voice without a style input.
        """
        if not self.style_dim:
            super().use_told_styles(space_id)
        deafen(self.reference)
        self.style_space = self.parameters_given["style_space"] = space_id

    def use_vocoder(self, vocoder: Vocoder) -> None:
        """Put another vocoder of the same mel in place. Raises `ContractError` where its port differs."""
        own = mel_port(self.sample_rate, self.mel)
        apart = [
            f"{name} {theirs!r} instead of {mine!r}"
            for (name, mine), (_, theirs) in zip(own.facts(), vocoder.port.facts(), strict=True)
            if mine != theirs
        ]
        if apart:
            raise ContractError(
                f"The vocoder was made for another mel: {', '.join(apart)}.\n"
                "A mel means nothing to a vocoder of another one; train the detokenizer on the vocoder's mel (mel=…)."
            )
        self.vocoder = vocoder.to(self.device)

    # ---- training

    def make_discriminator(self) -> nn.Module:
        """A fresh adversary of the vocoder: waveform [B, 1, S] → (scores, feature maps)."""
        return WaveDiscriminator(**asdict(self.adversary))

    def training_forward(self, batch: VoiceBatch, generator: torch.Generator) -> VoiceOutput:
        """Losses of flow, unit means, durations and vocoder, with the real and generated segments.

        Raises as `decode` does, and `DataError` for durations or recordings that do not belong to the units, or style
        vectors that nobody tells.
        """
        noise = RowNoise(batch.places, generator, self.device)
        frames = (batch.audio.lengths // self.hop_size).tolist()
        draws = FlowDraws(
            noise=noise.normal(self.mel.num_mels, frames, max(frames)),
            time=noise.uniform(),
            start=noise.uniform(),
        )
        return self.learn(batch, draws)

    def learn(self, batch: VoiceBatch, draws: FlowDraws) -> VoiceOutput:
        """`training_forward` with given random numbers."""
        check_rate(batch.audio, self.sample_rate)
        codes = self._codes(batch.units)
        num_units = batch.units.lengths.to(self.device)
        unit_mask = step_mask(num_units, codes.shape[-1])
        wave, samples = batch.audio.wave.to(self.device), batch.audio.lengths.to(self.device)
        spectrum, frames = self.spectrogram.linear(wave[:, : int(samples.max())], samples)  # [B, F, L]
        check_frames(frames, self.hop_size)
        if batch.durations is None:
            raise DataError(
                "detokenizer/cfm_mel learns from known durations, and the batch has none.\n"
                "Give VoiceBatch.durations, the frames of every unit."
            )
        known = given_durations(batch.durations, num_units, codes.shape[-1], self.device)
        check_sum(known, frames, self.hop_size, self.sample_rate)
        frames = frames.minimum(known.double().sum(1).round().long())
        mask = step_mask(frames, spectrum.shape[-1])
        encoder = self.reference if self.style_dim else None
        style = style_to_learn(batch, encoder, spectrum, mask, self.style_dim, self.style_space)
        g = self._as_condition(style)

        hidden, mean, extra = self.encoder(codes, unit_mask)
        duration_loss = self.lengths.loss(hidden, unit_mask, known[:, None], g)
        durations = whole_frames(known)
        condition, mask = self._condition(mean, extra, durations, frames, g)
        log_mel = self.spectrogram.log_mel(spectrum)  # [B, M, L]
        data = ((log_mel - self.mel.mean) / self.mel.std)[..., : mask.shape[-1]] * mask
        noisy, velocity = transport(draws.noise[..., : mask.shape[-1]], data, draws.time, self.objective.sigma_min)
        found = self.field(noisy * mask, condition, draws.time, mask, g)
        real, fake, parts = self._vocode(wave, log_mel, frames, draws.start, batch.counts)
        mask = mask * batch.counts
        parts |= {
            "flow": flow_matching_loss(found, velocity, mask),
            "mean": flow_matching_loss(condition[:, : self.mel.num_mels], data, mask),
            "duration": mean_over_processes(duration_loss.sum() * batch.counts, unit_mask.sum() * batch.counts),
        }
        total = torch.stack(list(parts.values())).sum()
        losses = Losses(total, {name: loss.detach() for name, loss in parts.items()})
        return VoiceOutput(real, fake, losses, durations, None if g is None or batch.style is not None else g[..., 0])

    def _vocode(
        self, wave: Tensor, log_mel: Tensor, frames: Tensor, start: Tensor, counts: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Recorded mels of a stretch of every row through the vocoder: real and made waves [B, 1, S], and their losses.

        `start` [B] in [0, 1) is where the stretch begins among those that fit.
        """
        size = self.objective.segment_frames
        first = (start * (frames - size + 1).clamp(min=1)).long()  # [B]
        at = first[:, None] + torch.arange(size, device=self.device)  # [B, N]
        valid = at < frames[:, None]
        audible = valid.repeat_interleave(self.hop_size, 1)[:, None]
        mel = cut_steps(log_mel, at)  # [B, M, N]
        fake = self.vocoder(mel).float() * audible
        real = cut_steps(wave[:, None], samples_of(at, self.hop_size)) * audible
        whole = torch.full_like(frames, fake.shape[-1])
        made = self.spectrogram.log_mel(self.spectrogram.linear(fake[:, 0], whole)[0])
        target = self.spectrogram.log_mel(self.spectrogram.linear(real[:, 0], whole)[0])
        parts = {"mel": self.objective.mel_weight * mel_loss(target, made, valid & counts)}
        if self.objective.stft_sizes:
            distance = stft_loss(real, fake, self.objective.stft_sizes, counts)
            parts["stft"] = self.objective.stft_weight * distance
        return real, fake, parts


def mel_port(sample_rate: int, mel: sizes.MelSizes) -> MelPort:
    """Everything that a vocoder of this mel is bound to."""
    return MelPort(
        sample_rate=sample_rate,
        fft_size=mel.fft_size,
        hop_size=mel.hop_size,
        window_size=mel.fft_size,
        num_mels=mel.num_mels,
        min_hz=mel.min_hz,
        max_hz=mel.max_hz,
        norm=LOG_AREA,
    )


def _check_sizes(mel: sizes.MelSizes, unit: sizes.UnitSizes) -> None:
    fft, hop = mel.fft_size, mel.hop_size
    if fft % 2 or not 0 < hop <= fft or (fft - hop) % 2:
        raise OmnikitError(
            f"mel.fft_size {fft} and mel.hop_size {hop} do not go together.\n"
            "Accepted: even fft_size, hop_size at most as large and even too (1024 and 256 for example)."
        )
    if not mel.std > 0:
        raise OmnikitError(f"mel.std is {mel.std}; a standard deviation is above 0 (about 2 for speech).")
    if unit.hidden_dim % unit.num_heads:
        raise OmnikitError(
            f"unit_encoder.hidden_dim {unit.hidden_dim} cannot be shared among num_heads {unit.num_heads}."
        )
