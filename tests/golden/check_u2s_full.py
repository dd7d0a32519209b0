"""The unit-to-speech VITS and its discriminators at published size, with weights made by a recipe."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn

from golden.check_u2s import one_hot, spoken_alone
from golden.compare import Golden, checks
from omnikit.detokenizers.uvits import UVITS
from omnikit.nn.alignment import FrameCount, path_of, take_units
from omnikit.nn.vits_losses import discriminator_loss, feature_loss, generator_loss


def weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The tensor `name` of the recipe, whose stream is seeded by the name with lower-case norms."""
    name = name.replace("GAMMA", "gamma").replace("BETA", "beta")
    drawn = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last in ("weight_g", "gamma"):
        drawn = 1.0 + 0.1 * drawn
    elif last in ("beta", "bias", "m", "logs"):
        drawn = 0.1 * drawn
    elif last in ("emb_rel_k", "emb_rel_v") or name.endswith("emb.weight"):
        drawn = drawn * shape[-1] ** -0.5
    else:
        drawn = drawn * math.prod(shape[1:]) ** -0.5
    return torch.from_numpy(drawn.astype(np.float32))


def fill(module: nn.Module, seed: int) -> None:
    module.load_state_dict({name: weight(name, tuple(t.shape), seed) for name, t in module.state_dict().items()})
    module.eval()


@checks("speech/u2s_full")
@torch.no_grad()
def published_size(golden: Golden) -> None:
    model = UVITS(
        codebooks=(4096,),
        vocab_id="golden",
        unit_rate=25,
        style_dim=256,
        style_space="golden",
        reference={"num_speakers": 1344},
    )
    fill(model, golden.meta["recipe_seed"])
    golden.equal("symbol ids", (golden["in.units"] + 178).tolist(), golden["in.symbol_ids"][0].tolist())
    decoding(golden, model)
    posterior(golden, model)
    adversary = model.make_discriminator()
    fill(adversary, golden.meta["recipe_seed"])
    judgement(golden, adversary)


def decoding(golden: Golden, model: UVITS) -> None:
    codes, g = golden["in.units"][None, None], golden["in.style"]
    mask = torch.ones(1, 1, codes.shape[-1])
    hidden, mean, log_scale = model.enc_p(codes, mask)
    for case in ("infer_fixed", "infer_noise0"):
        golden.exact(f"{case}.x_mask", mask)
        golden.close(f"{case}.x", hidden)
        golden.close(f"{case}.m_p", mean)
        golden.close(f"{case}.logs_p", log_scale)
        if case == "infer_fixed":
            durations = golden["in.durations"][:, 0].long()
        else:
            *_, frames = model.voice().prior(codes, torch.zeros(1, 2, codes.shape[-1]), g)
            durations = FrameCount(rounded=False)(frames, last=True)
        golden.exact(f"{case}.dur", durations[:, None])
        total = int(durations.sum())
        path, inside = path_of(durations, total), torch.ones(1, 1, total)
        golden.exact(f"{case}.y_mask", inside)
        golden.exact(f"{case}.attn", one_hot(path, durations.sum(1), codes.shape[-1])[:, None])
        golden.close(f"{case}.m_p_exp", take_units(mean, path))
        golden.close(f"{case}.logs_p_exp", take_units(log_scale, path))
        z = model.flow.inverse(take_units(mean, path), inside, g)
        golden.close(f"{case}.z", z)
        golden.close(f"{case}.z_p", model.flow(z, inside, g))
        golden.close(f"{case}.wav", model.dec(z, g))
        states = (hidden, mean, log_scale, durations)
        golden.close(f"{case}.wav", spoken_alone(model, states, torch.zeros_like(z), g, golden[f"{case}.wav"]))


def posterior(golden: Golden, model: UVITS) -> None:
    wave = golden["in.wav"]
    spectrum, _ = model.spectrogram.linear(wave, torch.tensor([wave.shape[1]]))
    mask = torch.ones(1, 1, spectrum.shape[-1])
    style = model.enc_r(spectrum, mask)
    golden.close("style_from_spec", style)
    mean, log_scale = model.enc_q(spectrum, mask, style[..., None])
    golden.close("posterior.m_q", mean)
    golden.close("posterior.logs_q", log_scale)
    z = mean + golden["posterior.rng"] * log_scale.exp()
    golden.close("posterior.z", z)
    golden.close("posterior.z_p", model.flow(z, mask, style[..., None]))


def judgement(golden: Golden, adversary: nn.Module) -> None:
    fake = golden["disc.in.y_hat"]
    real_scores, real_maps = adversary(golden["in.wav"][:, None, : fake.shape[-1]])
    fake_scores, fake_maps = adversary(fake)
    for row, maps in enumerate(real_maps):
        golden.close(f"disc{row}.real", real_scores[row])
        golden.close(f"disc{row}.fake", fake_scores[row])
        for layer, values in enumerate(maps):
            name = f"disc{row}.fmap_real{layer}_probe"
            every = max(1, values.numel() // 64)
            golden.close(name, values.flatten()[::every][: len(golden[name])])
    golden.close("loss.disc", discriminator_loss(real_scores, fake_scores))
    golden.close("loss.fm", feature_loss(real_maps, fake_maps))
    golden.close("loss.gen", generator_loss(fake_scores))
