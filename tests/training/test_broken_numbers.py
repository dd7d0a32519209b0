"""Gradients and weights that are no numbers stop a run before they spoil anything, and are named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from stages.test_detokenizer_stage import run as run_voice
from stages.test_detokenizer_stage import stage as voice_stage
from torch import Tensor, nn
from training.processes import two_processes

from omnikit.errors import OmnikitError
from omnikit.stages.base import Stage
from omnikit.training.progress import Saver, read_saved
from omnikit.types import Losses

SHARED = """
import sys
import omnikit
import lightning, torch
from torch import nn
from omnikit.errors import OmnikitError
from omnikit.stages.base import Stage
from omnikit.stages.finite import not_finite
from omnikit.training.sharding import strategy_of
from omnikit.types import Losses

class Blocks(Stage):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def training_step(self, batch, index):
        first = self.blocks[0](batch)
        second = self.blocks[1](first.detach())
        if index == 1 and self.global_rank == 1:
            second.register_hook(lambda slope: slope * torch.tensor([float("nan"), 1.0, 1.0, 1.0]))
        return self.checked(Losses(first.square().mean() + second.square().mean(), {}))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 0.01)

quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
for strategy in ("ddp", "fsdp2"):
    module = Blocks()
    settings = {"strategy": strategy, "devices": 2, "num_nodes": 1}
    trainer = lightning.Trainer(
        accelerator="cpu", devices=2, strategy=strategy_of(settings), max_epochs=1, gradient_clip_val=1.0,
        use_distributed_sampler=False, **quiet
    )
    batches = [torch.rand(3, 4) for _ in range(3)]
    try:
        trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    except OmnikitError as error:
        print(strategy, "stopped:", str(error).splitlines()[0], not_finite(module.named_parameters()), flush=True)
"""
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


class Line(Stage):
    """Two layers whose loss is finite at every step; the gradients of the second turn NaN at step `broken`."""

    def __init__(self, broken: int | None = None, adds: float = math.nan) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)
        self.steps = 0
        self.second.weight.register_hook(lambda slope: slope + adds if self.steps - 1 == broken else slope)

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        self.steps += 1
        return self.checked(Losses(10 * self.second(self.first(batch)).square().mean(), {}))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


class Own(Line):
    """The same, stepping its optimiser itself."""

    def __init__(self, broken: int | None = None) -> None:
        super().__init__(broken)
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, index: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, index))
        optimizer.step()


def train(module: Stage, *callbacks: lightning.Callback, clip: float | None = None, **more: Any) -> None:
    batches = [torch.rand(8, 4, generator=torch.Generator().manual_seed(number)) for number in range(4)]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        callbacks=list(callbacks),
        gradient_clip_val=clip,
        **{**QUIET, **more},
    )
    trainer.fit(module, loader)


def weights(module: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in module.parameters()])


@pytest.mark.parametrize(
    ("design", "clip", "adds"), [(Line, 0.1, math.nan), (Line, None, math.nan), (Line, 0.1, math.inf), (Own, None, 0)]
)
def test_a_broken_gradient_stops_the_run_before_the_step_and_is_named(
    design: type[Line], clip: float | None, adds: float, tmp_path: Path
) -> None:
    module = design(2) if design is Own else design(2, adds)
    saver = Saver(tmp_path / "last.ckpt", minutes=0)
    with pytest.raises(OmnikitError, match=r"gradients of batch 2 .*: second\.weight\.") as caught:
        train(module, saver, clip=clip)
    assert "first" not in str(caught.value) and len(str(caught.value).splitlines()) <= 8
    assert weights(module).isfinite().all()
    saved = read_saved(tmp_path / "last.ckpt")
    assert saved["global_step"] == 2
    torch.testing.assert_close(saved["state_dict"], module.state_dict(), rtol=0, atol=0)


def test_clipping_is_what_it_was() -> None:
    class Plain(Line):
        """Clipped by Lightning itself."""

        configure_gradient_clipping = lightning.LightningModule.configure_gradient_clipping

    ours, theirs, free = Line(), Plain(), Line()
    for module, clip in ((ours, 0.1), (theirs, 0.1), (free, None)):
        train(module, clip=clip)
    assert torch.equal(weights(ours), weights(theirs))
    assert not torch.allclose(weights(ours), weights(free))


def test_the_scaler_of_float16_skips_such_a_step_by_itself() -> None:
    module = Line(2)
    scaler = torch.amp.GradScaler(device="cpu", init_scale=8.0)
    train(module, clip=0.1, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    assert module.steps == 4 and weights(module).isfinite().all()
    assert scaler.get_scale() == 4.0


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    class Spoil(lightning.Callback):
        def __init__(self, batch: int) -> None:
            self.batch = batch

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == self.batch:
                with torch.no_grad():
                    module.first.bias[1] = math.inf

    path = tmp_path / "last.ckpt"
    with pytest.raises(OmnikitError, match=r"After 2 batches .* first\.bias\.") as caught:
        train(Line(), Spoil(1), Saver(path, minutes=0))
    assert f"{path} is from before" in str(caught.value)
    saved = read_saved(path)
    assert saved["global_step"] == 1 and all(value.isfinite().all() for value in saved["state_dict"].values())
    with pytest.raises(OmnikitError, match="After 4 batches") as caught:  # nor are parts made of them
        train(Line(), Spoil(3), Saver(tmp_path / "never.ckpt", minutes=60))
    assert "Nothing was saved before" in str(caught.value)


@pytest.mark.parametrize("name", ["detokenizer.dp.proj.bias", "discriminator.discriminators.0.conv_post.bias"])
def test_both_players_of_the_voice_are_looked_at(name: str, tmp_path: Path) -> None:
    module = voice_stage(start=0)
    module.get_parameter(name).register_hook(lambda slope: slope * math.nan)
    with pytest.raises(OmnikitError, match=r"gradients of batch 0") as caught:
        run_voice(module, tmp_path, 1)
    assert name in str(caught.value)
    assert weights(module).isfinite().all()


def test_all_processes_stop_where_one_has_a_broken_gradient() -> None:
    with two_processes(SHARED) as started:
        told = [process.communicate(timeout=240)[0] for process in started]
    broken = "The gradients of batch 1 are no longer finite: "
    whole = "blocks.1.weight, blocks.1.bias. []"  # weights are finite
    elsewhere = "their norm alone, or those in another process. []"
    for said, sharded in zip(told, (whole, elsewhere), strict=True):  # the first process holds the broken rows
        stopped = [line for line in said.splitlines() if "stopped: " in line]
        assert stopped == [f"ddp stopped: {broken}{whole}", f"fsdp2 stopped: {broken}{sharded}"], said
