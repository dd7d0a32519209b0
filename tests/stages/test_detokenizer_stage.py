"""Stage `detokenizer`: both players learn, only when they should, and a broken loss is named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from omnikit.contracts import UnitsPort
from omnikit.data.voice_batches import VoiceRecordings
from omnikit.detokenizers.uvits import UVITS
from omnikit.errors import OmnikitError
from omnikit.stages.detokenizer import DetokenizerStage
from omnikit.stages.optim import Optim
from omnikit.types import Audio

UNITS = UnitsPort(codebooks=(16,), rate=Fraction(25), layout="frame", vocab_id="units-1")


def stage(start: int, lr: float = 1e-3, **changes: Any) -> DetokenizerStage:
    torch.manual_seed(0)
    model = UVITS(
        codebooks=[16],
        vocab_id="units-1",
        unit_rate=25,
        style_dim=4,
        style_space="space-1",
        layout="frame",
        head="istft",
        sample_rate=16_000,
        spectrogram={"num_mels": 20, "max_hz": 8000.0},
        unit_encoder={"symbol_offset": 0, "hidden_dim": 16, "filter_dim": 16, "num_layers": 1},
        latent={"dim": 8, "hidden_dim": 16, "posterior_layers": 1, "flow_layers": 1, "num_flows": 1},
        reference={"hidden_dim": 16},
        istft={"hidden_dim": 16, "ffn_dim": 16, "num_layers": 1},
        discriminator={
            "scale_channels": [4, 4, 4, 4, 4, 4],
            "scale_groups": [1, 1, 1, 1, 1, 1],
            "period_channels": [4, 4, 4],
            "periods": [2, 3],
        },
        objective={"segment_frames": 8},
    )
    return DetokenizerStage(model, Optim(lr=lr, steps=4, betas=(0.8, 0.99)), units=UNITS, start=start, **changes)


def batch() -> VoiceRecordings:
    draws = torch.Generator().manual_seed(0)
    wave = 0.1 * torch.randn(2, 6400, generator=draws)
    codes = torch.randint(16, (2, 1, 10), generator=draws)
    durations = torch.tensor([2, 3]).repeat(5).expand(2, -1).contiguous()
    return VoiceRecordings(codes, torch.tensor([10, 10]), durations, Audio(wave, torch.tensor([6400, 6400]), 16_000))


def run(module: DetokenizerStage, folder: Path, steps: int) -> lightning.Trainer:
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    batches = DataLoader([batch()] * steps, batch_size=None)
    trainer.fit(module, batches, DataLoader([batch()], batch_size=None))
    return trainer


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in module.parameters()])


def test_the_discriminator_learns_from_its_start_on(tmp_path: Path) -> None:
    module = stage(start=2)
    voice, adversary = weights(module.detokenizer), weights(module.discriminator)
    early = run(module, tmp_path, 2)
    assert early.global_step == 2
    assert torch.equal(weights(module.discriminator), adversary)
    assert "generator" not in early.callback_metrics
    assert not torch.equal(weights(module.detokenizer), voice)
    module = stage(start=2)
    trainer = run(module, tmp_path, 4)
    assert trainer.global_step == int(module.step) == 4
    assert not torch.equal(weights(module.discriminator), adversary)
    assert all(weight.requires_grad for weight in module.discriminator.parameters())
    said = {"loss", "mel", "kl", "duration", "discriminator", "generator", "feature", "valid_mel", "valid_loss"}
    assert said <= set(trainer.callback_metrics)


def test_the_same_seed_trains_the_same(tmp_path: Path) -> None:
    ends = []
    for seed in (1, 1, 2):
        module = stage(start=0, seed=seed)
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        run(module, tmp_path, 2)
        ends.append(weights(module.detokenizer))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_a_broken_loss_is_named(tmp_path: Path) -> None:
    module = stage(start=0)
    with torch.no_grad():
        module.detokenizer.dp.proj.bias.fill_(float("nan"))
    with pytest.raises(OmnikitError, match="duration"):
        run(module, tmp_path, 1)
