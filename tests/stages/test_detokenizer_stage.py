"""Stage `detokenizer`: both players learn, only when they should, and a broken loss is named."""

from __future__ import annotations

import copy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.plugins.precision import Precision
from torch.utils.data import DataLoader

from omnikit.contracts import UnitsPort
from omnikit.data.voice_batches import VoiceRecordings
from omnikit.detokenizers.uvits import UVITS
from omnikit.errors import OmnikitError
from omnikit.nn.running_average import follow
from omnikit.stages.detokenizer import DetokenizerStage
from omnikit.stages.optim import Optim
from omnikit.types import Audio, Style

UNITS = UnitsPort(codebooks=(16,), rate=Fraction(25), layout="frame", vocab_id="units-1")


def stage(start: int, lr: float = 1e-3, **changes: Any) -> DetokenizerStage:
    torch.manual_seed(0)
    units = replace(UNITS, layout=changes.pop("layout", "frame"))
    model = UVITS(
        codebooks=[16],
        vocab_id="units-1",
        unit_rate=25,
        style_dim=4,
        style_space="space-1",
        layout=units.layout,
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
    return DetokenizerStage(model, Optim(lr=lr, steps=4, betas=(0.8, 0.99)), units=units, start=start, **changes)


def batch() -> VoiceRecordings:
    draws = torch.Generator().manual_seed(0)
    wave = 0.1 * torch.randn(2, 6400, generator=draws)
    codes = torch.randint(16, (2, 1, 10), generator=draws)
    durations = torch.tensor([2, 3]).repeat(5).expand(2, -1).contiguous()
    return VoiceRecordings(codes, torch.tensor([10, 10]), durations, Audio(wave, torch.tensor([6400, 6400]), 16_000))


def test_the_style_vector_learns_its_labels_beside_the_sound(tmp_path: Path) -> None:
    plain, taught = stage(9), stage(9, factors={"speed": ["fast", "slow"]}, style_weight=2.0)
    item = replace(batch(), styles=({"speed": "fast"}, {"speed": "slow"}))
    assert taught.readers is not None
    before = taught.readers.heads["speed"].weight.detach().clone()
    trainer = run(taught, tmp_path, 2, item=item)
    assert 0 < float(trainer.callback_metrics["style"]) < 4
    assert plain.readers is None and "readers" not in "".join(taught.detokenizer.state_dict())
    assert not torch.equal(taught.readers.heads["speed"].weight, before)


def run(
    module: DetokenizerStage,
    folder: Path,
    steps: int,
    *callbacks: lightning.Callback,
    item: VoiceRecordings | None = None,
    precision: Precision | None = None,
) -> lightning.Trainer:
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        plugins=precision,
    )
    item = item or batch()
    trainer.fit(module, DataLoader([item] * steps, batch_size=None), DataLoader([item], batch_size=None))
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


def test_the_running_average_is_what_is_shipped(tmp_path: Path) -> None:
    module = stage(start=0, average_keep=0.5)
    assert module.average is not None
    follow_along = copy.deepcopy(module.detokenizer)
    seen: list[torch.nn.Module] = []

    class Watch(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(copy.deepcopy(module.detokenizer))

    run(module, tmp_path, 2, Watch())
    for keep, current in zip((0.1, 2 / 11), seen, strict=True):
        follow(follow_along, current, keep)
    torch.testing.assert_close(weights(module.average), weights(follow_along))
    assert module.voice is module.average
    assert not torch.equal(weights(module.average), weights(module.detokenizer))
    module.settle()
    assert torch.equal(weights(module.average), weights(module.detokenizer))
    plain = stage(start=0)
    assert plain.average is None and plain.voice is plain.detokenizer
    with pytest.raises(OmnikitError, match="average_keep is 1"):
        stage(start=0, average_keep=1.0)


def test_both_optimisers_step_through_the_precision_in_use(tmp_path: Path) -> None:
    stepped: list[torch.optim.Optimizer] = []

    class Scaled(Precision):
        """Gradients a thousand times too large until they are used, as mixed precision in float16 has them."""

        def pre_backward(self, tensor: torch.Tensor, module: Any) -> torch.Tensor:
            return super().pre_backward(tensor * 1000, module)

        def optimizer_step(self, optimizer: Any, model: Any, closure: Any, **more: Any) -> Any:
            stepped.append(optimizer)
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        weight.grad /= 1000
            return super().optimizer_step(optimizer, model, closure, **more)

    module = stage(start=0)
    run(module, tmp_path, 1, precision=Scaled())
    assert len(stepped) == len({id(optimizer) for optimizer in stepped}) == 2


@pytest.mark.parametrize("layout", ["frame", "reduced"])
def test_one_unit_and_silence_can_be_learnt_and_spoken(layout: str, tmp_path: Path) -> None:
    module = stage(start=0, layout=layout)
    wave = torch.zeros(3, 15 * 256)  # silence; one unit of five frames; units of one frame each
    wave[1, : 5 * 256] = torch.linspace(-0.5, 0.5, 5 * 256)
    wave[2, : 3 * 256] = 0.1
    lengths = torch.tensor([3, 1, 3])
    durations = torch.tensor([[5, 5, 5], [5, 0, 0], [1, 1, 1]]) if layout == "frame" else None
    audio = Audio(wave, torch.tensor([15, 5, 3]) * 256, 16_000)
    item = VoiceRecordings(torch.zeros(3, 1, 3, dtype=torch.long), lengths, durations, audio)
    run(module, tmp_path, 2, item=item)
    assert weights(module).isfinite().all()
    units = module.voice_batch(item).units
    vectors = module.detokenizer.style_vectors(audio)
    assert vectors is not None and vectors.isfinite().all()
    style = Style(vector=vectors, space_id="space-1")
    spoken = module.detokenizer.eval().decode(units, style, torch.Generator().manual_seed(0))
    assert spoken.wave.isfinite().all() and (spoken.lengths >= module.detokenizer.hop_size).all()


def test_a_broken_loss_is_named(tmp_path: Path) -> None:
    module = stage(start=0)
    with torch.no_grad():
        module.detokenizer.dp.proj.bias.fill_(float("nan"))
    with pytest.raises(OmnikitError, match="duration"):
        run(module, tmp_path, 1)
