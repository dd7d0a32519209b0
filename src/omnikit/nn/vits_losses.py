"""The terms of the VITS objective; those of a batch that several processes share are terms of the whole batch.

Letters: B batch, C channels, T units, F frames. Masks are [B, 1, F]. Log scales are logarithms of standard deviations.

Ref: Kim et al., VITS, ICML 2021, sections 2.1 and 2.3; Mao et al., "Least Squares GANs", ICCV 2017; Yamamoto et al.,
"Parallel WaveGAN", ICASSP 2020, equations 4 to 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from omnikit.nn.processes import mean_over_processes, sum_over_processes

LOG_SCALE_LIMIT = 7.0
"""Log scales beyond ± this are cut: e^±14 in a likelihood is as good as never, and more overflows."""

_MAGNITUDE_FLOOR = 1e-5
_SQUARE_FLOOR = 1e-12
"""Of sums of squares: a root has no slope at 0, where silence is met by silence."""


def bounded(log_scale: Tensor) -> Tensor:
    """A log scale in float32, kept within the limit."""
    return log_scale.float().clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)


def kl_loss(z_p: Tensor, logs_q: Tensor, m_p: Tensor, logs_p: Tensor, mask: Tensor) -> Tensor:
    """Mean over valid frames of log q(z) - log p(z), summed over channels, estimated at the sample `z_p` [B, C, F].

    The entropy of q enters by its expectation.
    """
    z_p, m_p, logs_q, logs_p = z_p.float(), m_p.float(), bounded(logs_q), bounded(logs_p)
    kl = logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p).square() * torch.exp(-2 * logs_p)
    return mean_over_processes((kl * mask).sum(), mask.sum())


def frame_log_likelihood(z_p: Tensor, m_p: Tensor, logs_p: Tensor) -> Tensor:
    """Log density of every frame z_p [B, C, F] under every unit's normal (m_p, logs_p [B, C, T]) → [B, F, T]."""
    z_p, m_p, logs_p = z_p.float(), m_p.float(), bounded(logs_p)
    precision = torch.exp(-2 * logs_p)  # [B, C, T]
    constant = (-0.5 * math.log(2 * math.pi) - logs_p - 0.5 * m_p.square() * precision).sum(
        1, keepdim=True
    )  # [B, 1, T]
    frames = z_p.transpose(1, 2)  # [B, F, C]
    return constant - 0.5 * (frames.square() @ precision) + frames @ (m_p * precision)


def mel_loss(real: Tensor, fake: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of log-mel frames [B, M, F] where `valid` [B, F]."""
    distance = (real - fake).abs().mean(1)  # [B, F]
    return mean_over_processes((distance * valid).sum(), valid.sum())


def stft_loss(real: Tensor, fake: Tensor, fft_sizes: Sequence[int], counts: bool = True) -> Tensor:
    """Mean over resolutions of spectral convergence and mean absolute log-magnitude distance of waves [B, 1, S].

    Windows of several lengths cannot all be matched by frames whose phases disagree, so a Fourier head learns pitch.
    Hann windows of `fft_sizes` samples, a quarter apart. Of waves that do not count nothing enters the sums over
    processes.
    """
    num_rows = sum_over_processes(real.new_tensor(len(real) * counts)).clamp(min=1)
    terms = []
    for size in fft_sizes:
        window = torch.hann_window(size, device=real.device)
        target, made = (
            torch.stft(wave[:, 0].float(), size, size // 4, window=window, return_complex=True)
            .abs()
            .clamp(min=_MAGNITUDE_FLOOR)
            for wave in (real, fake)
        )
        apart = (target.log() - made.log()).abs().mean((1, 2)).sum()
        sums = torch.stack([(target - made).square().sum(), target.square().sum(), apart]) * counts
        error, power, apart = sum_over_processes(sums)
        terms.append((error.clamp(min=_SQUARE_FLOOR) / power.clamp(min=_SQUARE_FLOOR)).sqrt() + apart / num_rows)
    return torch.stack(terms).mean()


def feature_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Twice the summed mean absolute difference of the discriminators' feature maps; `real` gets no gradient."""
    terms = [
        (a.detach().float() - b.float()).abs().mean()
        for maps_real, maps_fake in zip(real, fake, strict=True)
        for a, b in zip(maps_real, maps_fake, strict=True)
    ]
    return 2 * torch.stack(terms).sum()


def generator_loss(fake_scores: Sequence[Tensor]) -> Tensor:
    """Summed squared distance of the scores of generated sound to 1."""
    return torch.stack([(1 - score.float()).square().mean() for score in fake_scores]).sum()


def discriminator_loss(real_scores: Sequence[Tensor], fake_scores: Sequence[Tensor]) -> Tensor:
    """Summed squared distance of real scores to 1 and of generated ones to 0."""
    terms = [
        (1 - real.float()).square().mean() + fake.float().square().mean()
        for real, fake in zip(real_scores, fake_scores, strict=True)
    ]
    return torch.stack(terms).sum()
