"""The unit-to-speech VITS against its golden data: blocks alone, a small model whole, the published size."""

from __future__ import annotations

from fractions import Fraction
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn

from golden.compare import FLOWS, GRADIENTS, Golden, checks
from omnikit.detokenizers.uvits import UVITS, VoiceNoise
from omnikit.detokenizers.uvits_voice import Noise, UnitPrior
from omnikit.nn.alignment import FrameCount, durations_of, monotonic_path, path_of, take_units
from omnikit.nn.duration import StochasticDurationPredictor
from omnikit.nn.flow import WN, ConvFlow, Coupling, DDSConv
from omnikit.nn.hifigan import HiFiGAN
from omnikit.nn.mel import mel_filter_bank
from omnikit.nn.relative_attention import ConvFFN, RelativeAttention
from omnikit.nn.spectrogram import Spectrogram
from omnikit.nn.spline import rational_quadratic_spline
from omnikit.nn.style_encoder import StyleEncoder
from omnikit.nn.vits_losses import (
    bounded,
    discriminator_loss,
    feature_loss,
    frame_log_likelihood,
    generator_loss,
    kl_loss,
    mel_loss,
)
from omnikit.slots.detokenizer import VoiceBatch
from omnikit.types import Audio, Units


def loaded(golden: Golden, prefix: str, module: nn.Module) -> nn.Module:
    module.load_state_dict(golden.state(prefix))
    return module.eval()


def one_hot(path: Tensor, num_frames: Tensor, num_units: int) -> Tensor:
    """Paths [B, F] → 0/1 matrices [B, F, T], zero beyond each row's frames."""
    valid = torch.arange(path.shape[1]) < num_frames[:, None]
    return nn.functional.one_hot(path, num_units) * valid[..., None]


# Not in the JSON twin: only a factor between 1.09 and 1.25 explains the recorded durations of `infer_noise` together
# with its log-durations and the recorded margin; every factor in that range gives the same ones.
INFERRED_LENGTH_SCALE = 1.1


def lengths(mask: Tensor) -> Tensor:
    return mask.sum((1, 2)).long()


@checks("speech/u2s_prims")
@torch.no_grad()
def primitives(golden: Golden) -> None:
    splines(golden)
    alignment(golden)
    spectra(golden)
    losses_alone(golden)
    blocks(golden)


def splines(golden: Golden) -> None:
    for name in ("rqs", "rqs_small"):
        sizes = golden.meta[name]
        settings = {
            "bound": sizes["tail_bound"],
            "min_width": sizes["min_bin_width"],
            "min_height": sizes["min_bin_height"],
            "min_slope": sizes["min_derivative"],
        }
        raw = [golden[f"{name}.in.{part}"] for part in "whd"]
        y, log_slope = rational_quadratic_spline(golden[f"{name}.in.x"], *raw, **settings)
        golden.close(f"{name}.out.y", y, FLOWS)
        golden.close(f"{name}.out.logdet", log_slope, FLOWS)
        back, log_slope = rational_quadratic_spline(golden[f"{name}.out.y"], *raw, inverse=True, **settings)
        golden.close(f"{name}.out.inv_x", back, FLOWS)
        golden.close(f"{name}.out.inv_logdet", log_slope, FLOWS)


def alignment(golden: Golden) -> None:
    mask = golden["mas.in.mask"]
    frames, units = mask[:, :, 0].sum(1).long(), mask[:, 0].sum(1).long()
    for name in ("mas", "mas_ties"):
        value = golden[f"{name}.in.value"]
        path = monotonic_path(value, frames, units)
        golden.exact(f"{name}.out.path", one_hot(path, frames, value.shape[2]))
    durations, frames = golden["path.in.dur"][:, 0].long(), lengths(golden["path.in.y_mask"])
    durations = durations * golden["path.in.x_mask"][:, 0].long()
    path = path_of(durations, golden["path.in.y_mask"].shape[-1])
    golden.exact("path.out.attn", one_hot(path, frames, durations.shape[1])[:, None])


def spectra(golden: Golden) -> None:
    wave = golden["spec.in.wav"]
    spectrogram = Spectrogram(22_050, 1024, 256, 80, 0.0, 11_025.0)
    golden.close("spec.mel_basis", mel_filter_bank(22_050, 1024, 80, 0.0, 11_025.0))
    magnitude, frames = spectrogram.linear(wave, torch.tensor([wave.shape[1]] * len(wave)))
    golden.close("spec.out.linear", magnitude)
    golden.close("spec.out.mel", spectrogram.log_mel(magnitude))
    golden.close("spec.out.mel_from_linear", spectrogram.log_mel(golden["spec.out.linear"]))
    golden.equal("frames", frames.tolist(), [magnitude.shape[-1]] * len(wave))


def losses_alone(golden: Golden) -> None:
    given = golden.state("loss.in.")
    kl = [given[f"kl_{name}"] for name in ("z_p", "logs_q", "m_p", "logs_p", "z_mask")]
    golden.close("loss.out.kl", kl_loss(*kl))
    maps: dict[str, list[list[Tensor]]] = {}
    for side in ("fr", "fg"):
        names = sorted(name for name in given if name.startswith(side))
        rows = sorted({name.split("_")[0] for name in names})
        maps[side] = [[given[name] for name in names if name.startswith(f"{row}_")] for row in rows]
    golden.close("loss.out.feature", feature_loss(maps["fr"], maps["fg"]))
    real, fake = ([given[name] for name in sorted(given) if name.startswith(side)] for side in ("dr", "dg"))
    golden.close("loss.out.gen", generator_loss(fake))
    golden.close("loss.out.disc", discriminator_loss(real, fake))


def blocks(golden: Golden) -> None:
    def inputs(block: str, *names: str) -> list[Tensor]:
        return [golden[f"{block}.in.{name}"] for name in names]

    wn = loaded(golden, "wn.sd.", WN(8, 5, 4, 6))
    golden.close("wn.out.y", wn(*inputs("wn", "x", "x_mask", "g")))
    coupling = loaded(golden, "coupling.sd.", Coupling(6, 8, 5, 3, 5))
    x, mask, g = inputs("coupling", "x", "x_mask", "g")
    golden.close("coupling.out.y", coupling(x, mask, g))
    golden.close("coupling.out.rev", coupling.inverse(golden["coupling.out.y"], mask, g))
    separable = loaded(golden, "ddsconv.sd.", DDSConv(8, 3))
    golden.close("ddsconv.out.y", separable(*inputs("ddsconv", "x", "x_mask", "g")))
    spline_flow = loaded(golden, "convflow.sd.", ConvFlow(8, 3))
    x, mask, g = inputs("convflow", "x", "x_mask", "g")
    y, log_det = spline_flow(x, mask, g)
    golden.close("convflow.out.y", y, FLOWS)
    golden.close("convflow.out.logdet", log_det, FLOWS)
    golden.close("convflow.out.rev", spline_flow.inverse(golden["convflow.out.y"], mask, g), FLOWS)
    timing = loaded(golden, "sdp.sd.", StochasticDurationPredictor(8, 3, 4, 0.5, 5))
    x, mask, durations, g = inputs("sdp", "x", "x_mask", "w", "g")
    golden.close("sdp.out.nll", timing.loss(x, mask, durations, golden["sdp.rng0"], g), FLOWS)
    attention = loaded(golden, "mha_rel.sd.", RelativeAttention(8, 2))
    golden.close("mha_rel.out.y", attention(*inputs("mha_rel", "x", "mask")))
    feed = loaded(golden, "ffn.sd.", ConvFFN(8, 12, 3))
    golden.close("ffn.out.y", feed(*inputs("ffn", "x", "x_mask")))
    gan = loaded(golden, "hifigan.sd.", HiFiGAN(6, 16, (4, 2), (8, 4), (3, 7), ((1, 3, 5), (1, 3, 5)), 5))
    z, g = inputs("hifigan", "x", "g")
    golden.close("hifigan.out.wav", gan(z, g))
    golden.close("hifigan.out.wav_nog", gan(z))
    reference = loaded(golden, "style_enc.sd.", StyleEncoder(9, 8, 6))
    spectrum, mask = inputs("style_enc", "spec", "mask")
    golden.close("style_enc.out.g", reference(spectrum, mask))
    golden.close("style_enc.out.g_nomask", reference(spectrum, torch.ones_like(mask)))


def build(meta: dict[str, Any], sample_rate: int, style_dim: int) -> UVITS:
    """The component at the sizes that the JSON twin of `u2s` describes."""
    model, data = meta["model"], meta["data"]
    return UVITS(
        codebooks=(meta["n_vocab"] - 178,),
        vocab_id="golden",
        unit_rate=Fraction(25),
        style_dim=style_dim,
        style_space="golden",
        layout="reduced",
        sample_rate=sample_rate,
        spectrogram={
            "fft_size": data["filter_length"],
            "hop_size": data["hop_length"],
            "num_mels": data["n_mel_channels"],
            "min_hz": data["mel_fmin"],
            "max_hz": sample_rate / 2,
        },
        unit_encoder={
            "hidden_dim": model["hidden_channels"],
            "filter_dim": model["filter_channels"],
            "num_heads": model["n_heads"],
            "num_layers": model["n_layers"],
            "kernel_size": model["kernel_size"],
            "dropout": model["p_dropout"],
        },
        latent={"dim": model["inter_channels"], "hidden_dim": model["hidden_channels"]},
        reference={"hidden_dim": model["hidden_channels"], "num_speakers": meta["n_speakers"]},
        hifigan={
            "hidden_dim": model["upsample_initial_channel"],
            "rates": model["upsample_rates"],
            "rate_kernels": model["upsample_kernel_sizes"],
            "kernels": model["resblock_kernel_sizes"],
            "dilations": model["resblock_dilation_sizes"],
        },
        objective={"segment_frames": meta["segment"]},
    )


@checks("speech/u2s")
def small_model(golden: Golden) -> None:
    meta = golden.meta["config"]
    model = build(meta, meta["data"]["sampling_rate"], meta["model"]["gin_channels"])
    loaded(golden, "sd.", model)
    with torch.no_grad():
        inference(golden, model)
        short_inputs(golden, model)
        training_values(golden, model)
    training_losses(golden, model)


def prior(golden: Golden, model: UVITS) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    ids, unit_len = golden["in.units"], golden["in.unit_len"]
    mask = (torch.arange(ids.shape[1]) < unit_len[:, None])[:, None].float()
    codes = ((ids - 178)[:, None] * mask).long()
    return mask, model.enc_p(codes, mask)


def inference(golden: Golden, model: UVITS) -> None:
    mask, (hidden, mean, log_scale) = prior(golden, model)
    for case in ("infer_fixed", "infer_noise", "infer_noise0", "infer_nostyle"):
        rows = len(golden[f"{case}.x"])
        first = slice(rows)
        g = None if case == "infer_nostyle" else golden["in.style"]
        valid = mask[first] > 0
        golden.exact(f"{case}.x_mask", mask[first])
        golden.close(f"{case}.x", hidden[first])
        golden.close(f"{case}.m_p", mean[first])
        golden.close(f"{case}.logs_p", log_scale[first])
        expected = golden[f"{case}.dur"]
        noise = golden["infer_noise.rng_w"] * 0.8 if case == "infer_noise" else torch.zeros(rows, 2, mask.shape[-1])
        if f"{case}.logw" in golden:
            golden.close(f"{case}.logw", model.dp.log_durations(hidden, mask, noise, g), FLOWS, valid)
        if case == "infer_fixed":
            durations = golden["in.durations"][:, 0].long()
        elif case == "infer_noise":
            longer = model.dp.log_durations(hidden, mask, noise, g).exp() * INFERRED_LENGTH_SCALE * mask
            durations = longer.ceil()[:, 0].long()
        else:
            durations = predicted(model, golden, rows, g)
        golden.exact(f"{case}.dur", durations[:, None])
        total = int(expected.sum(2).max())
        path, frames = path_of(durations, total), durations.sum(1)
        inside = (torch.arange(total) < frames[:, None])[:, None]
        golden.exact(f"{case}.y_mask", inside)
        golden.exact(f"{case}.attn", one_hot(path, frames, mask.shape[-1])[:, None])
        golden.close(f"{case}.m_p_exp", take_units(mean[first], path) * inside)
        golden.close(f"{case}.logs_p_exp", take_units(log_scale[first], path) * inside)
        latent_noise = torch.zeros(rows, model.latent_dim, total)
        if case == "infer_noise":
            latent_noise = golden["infer_noise.rng_z"] * 0.667
        spread = take_units(bounded(log_scale[first]), path).exp()
        z_p = (take_units(mean[first], path) + latent_noise * spread) * inside
        z = model.flow.inverse(z_p, inside.float(), g) * inside
        golden.close(f"{case}.z", z, valid=inside)
        golden.close(f"{case}.z_p", model.flow(z, inside.float(), g), valid=inside)
        waves = model.dec(z, g)
        golden.close(f"{case}.wav", waves)
        states = (hidden[first], mean[first], log_scale[first], durations)
        golden.close(f"{case}.wav", spoken_alone(model, states, latent_noise / 0.667, g, waves))


def predicted(model: UVITS, golden: Golden, rows: int, g: Tensor | None) -> Tensor:
    """Whole durations [B, T] as decoding predicts them, row by row, without noise."""
    voice, ids = model.voice(), golden["in.units"]
    durations = torch.zeros(rows, ids.shape[1], dtype=torch.long)
    for row, length in enumerate(golden["in.unit_len"][:rows].tolist()):
        codes = (ids[row : row + 1, None, :length]) - 178
        *_, frames = voice.prior(codes, torch.zeros(1, 2, length), None if g is None else g[row : row + 1])
        durations[row, :length] = FrameCount(rounded=False)(frames, last=True)
    return durations


class Recorded(Noise):
    """The noise of one row that a golden file recorded, before it is scaled."""

    def __init__(self, frames: Tensor) -> None:
        self.frames = lambda start, stop: frames[..., start:stop]  # type: ignore[assignment]


def spoken_alone(model: UVITS, states: tuple[Tensor, ...], noise: Tensor, g: Tensor | None, waves: Tensor) -> Tensor:
    """The waves [B, 1, S] in which rows that fill the batch were made by the path of `decode`, 7 frames at a time.

    Shorter rows are heard in the reference with the sound of their padding.
    """
    waves, voice, total = waves.clone(), model.voice(), noise.shape[-1]
    for row, frames in enumerate(states[-1].sum(1).tolist()):
        if frames == total:
            alone = UnitPrior(*(state[row : row + 1] for state in states), last=True)
            style = None if g is None else g[row : row + 1]
            waves[row] = torch.cat(list(voice.speak([alone], Recorded(noise[row : row + 1]), style, repeat(7))), 1)
    return waves


def short_inputs(golden: Golden, model: UVITS) -> None:
    for name in golden.names("enc_p_len*.x"):
        case = name.removesuffix(".x")
        length = golden[name].shape[-1]
        codes = (golden["in.units"][:1, :length] - 178)[:, None]
        hidden, mean, log_scale = model.enc_p(codes, torch.ones(1, 1, length))
        golden.close(f"{case}.x", hidden)
        golden.close(f"{case}.m", mean)
        golden.close(f"{case}.logs", log_scale)


def training_values(golden: Golden, model: UVITS) -> None:
    wave, frames = golden["train.in.wav"], golden["train.in.spec_len"]
    spectrum, counted = model.spectrogram.linear(wave[:, 0], frames * model.hop_size)
    golden.equal("frames", counted.tolist(), frames.tolist())
    golden.close("train.in.spec", spectrum)
    y_mask = (torch.arange(spectrum.shape[-1]) < frames[:, None])[:, None].float()
    golden.exact("train.out.y_mask", y_mask)
    style = model.enc_r(spectrum, y_mask)
    golden.close("style_from_spec", style)
    golden.close("train.out.g", style[..., None])
    g = style[..., None]
    x_mask, (hidden, mean, log_scale) = prior(golden, model)
    golden.exact("train.out.x_mask", x_mask)
    mean_q, log_scale_q = model.enc_q(spectrum, y_mask, g)
    golden.close("train.out.m_q", mean_q)
    golden.close("train.out.logs_q", log_scale_q)
    z = (mean_q + golden["train.rng_q"] * log_scale_q.exp()) * y_mask
    golden.close("train.out.z", z)
    z_p = model.flow(z, y_mask, g)
    golden.close("train.out.z_p", z_p)
    likelihood = frame_log_likelihood(z_p, mean, log_scale)
    golden.close("train.out.neg_cent", likelihood, FLOWS)
    path = monotonic_path(likelihood, frames, golden["in.unit_len"])
    golden.exact("train.out.attn", one_hot(path, frames, x_mask.shape[-1])[:, None])
    golden.close("train.out.m_p", take_units(mean, path) * y_mask)
    golden.close("train.out.logs_p", take_units(log_scale, path) * y_mask)
    durations = durations_of(path, frames, x_mask.shape[-1]).float()[:, None]
    nll = model.dp.loss(hidden, x_mask, durations, golden["train.rng_dp"], g)
    golden.close("train.out.l_length", nll / x_mask.sum(), FLOWS)
    golden.close("train.out.spk_centroid", model.emb_g(golden["train.in.sid"])[..., None])


def discriminator(golden: Golden) -> nn.Module:
    sizes = golden.meta
    model = UVITS(
        **{
            **TINY_SHELL,
            "discriminator": {
                "scale_channels": sizes["disc_S_channels"],
                "scale_groups": sizes["disc_S_groups"],
                "period_channels": sizes["disc_P_channels"],
            },
        }
    ).make_discriminator()
    return loaded(golden, "sd_d.", model)


TINY_SHELL: dict[str, Any] = {
    "codebooks": (2,),
    "vocab_id": "golden",
    "unit_rate": 25,
    "style_dim": 0,
    "style_space": None,
    "unit_encoder": {"hidden_dim": 4, "filter_dim": 4, "num_layers": 1},
    "latent": {"dim": 4, "hidden_dim": 4, "posterior_layers": 1, "flow_layers": 1, "num_flows": 1},
    "hifigan": {"hidden_dim": 16},
}


def training_losses(golden: Golden, model: UVITS) -> None:
    """Losses and gradients of one training forward, with the recorded random numbers."""
    frames, ids = golden["train.in.spec_len"], golden["in.units"]
    inside = torch.arange(ids.shape[1]) < golden["in.unit_len"][:, None]
    units = Units(
        codes=((ids - 178) * inside)[:, None],
        lengths=golden["in.unit_len"],
        sizes=model.codebooks,
        rate=Fraction(25),
        vocab_id="golden",
        layout="reduced",
    )
    audio = Audio(golden["train.in.wav"][:, 0], frames * model.hop_size, model.sample_rate)
    noise = VoiceNoise(golden["train.rng_q"], golden["train.rng_dp"], golden["train.rng_slice"])
    voice = model.learn(VoiceBatch(units, audio), noise)
    size = model.objective.segment_frames
    golden.exact("train.out.ids_slice", (noise.start * (frames - size + 1)).long())
    golden.close("train.out.o", voice.fake)
    golden.close("train.out.y_slice", voice.real)
    whole = torch.full_like(frames, voice.fake.shape[-1])
    fake_mel = model.spectrogram.log_mel(model.spectrogram.linear(voice.fake[:, 0], whole)[0])
    golden.close("train.out.y_hat_mel", fake_mel)
    golden.close("train.loss.mel", voice.losses.parts["mel"])
    golden.close("train.loss.kl", voice.losses.parts["kl"])
    golden.close("train.loss.dur", voice.losses.parts["duration"], FLOWS)
    golden.close("train.loss.mel", 45 * mel_loss(golden["train.out.y_mel"], fake_mel, torch.ones(len(frames), size)))

    adversary = discriminator(golden)
    real_scores, real_maps = adversary(voice.real)
    taught, _ = adversary(voice.fake.detach())
    teacher_loss = discriminator_loss(real_scores, taught)
    golden.close("train.loss.disc", teacher_loss)
    teacher_loss.backward()
    compare_gradients(golden, adversary, "gradnorm_d.")
    fake_scores, fake_maps = adversary(voice.fake)
    for row, (real, fake, maps_real, maps_fake) in enumerate(
        zip(real_scores, fake_scores, real_maps, fake_maps, strict=True)
    ):
        golden.close(f"train.disc{row}.real", real)
        golden.close(f"train.disc{row}.fake", fake)
        for layer, (a, b) in enumerate(zip(maps_real, maps_fake, strict=True)):
            golden.close(f"train.disc{row}.fmap_real{layer}", a)
            golden.close(f"train.disc{row}.fmap_fake{layer}", b)
    generator, feature = generator_loss(fake_scores), feature_loss(real_maps, fake_maps)
    golden.close("train.loss.gen", generator)
    golden.close("train.loss.fm", feature)
    total = voice.losses.total + generator + feature
    golden.close("train.loss.total_g", total)
    total.backward()
    compare_gradients(golden, model, "gradnorm.")
    weights = dict(model.named_parameters())
    for name in golden.names("grad.*"):
        golden.close(name, weights[name.removeprefix("grad.")].grad, GRADIENTS)


def compare_gradients(golden: Golden, model: nn.Module, prefix: str) -> None:
    weights = dict(model.named_parameters())
    for name in golden.names(f"{prefix}*"):
        golden.close(name, weights[name.removeprefix(prefix)].grad.norm(), GRADIENTS)
