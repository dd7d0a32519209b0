"""Operations of a training step are counted as formulas say, on the way, and without a trace in what is learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from omnikit.training.flops import FlopCount, can_count
from omnikit.training.records import Cost

BATCH, WIDE, NARROW = 4, 8, 3


class Small(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDE, WIDE, bias=False), nn.Linear(WIDE, NARROW, bias=False)

    def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
        if float(batch[0, 0]) < 0:
            raise KeyboardInterrupt
        return self.second(self.first(batch)).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def train(folder: Path, batches: list[torch.Tensor], counted: bool = True) -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Small()
    cost = Cost(folder, module)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, callbacks=[cost] if counted else [], **quiet
    )
    loader = torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader)
    if counted:
        cost.write()
    return module


def test_the_first_step_is_counted_forward_and_backward(tmp_path: Path) -> None:
    batches = [torch.rand(BATCH * size, WIDE) for size in (1, 2, 3)]
    module = train(tmp_path, batches)
    found = json.loads((tmp_path / "cost.json").read_text())
    first, second = 2 * BATCH * WIDE * WIDE, 2 * BATCH * WIDE * NARROW
    assert found["flops_per_step"] == 2 * first + 3 * second, "the gradient of the batch itself is not needed"
    assert found["steps"] == 3
    other = train(tmp_path / "other", batches, counted=False)
    assert torch.equal(module.first.weight, other.first.weight)


def test_a_run_that_goes_on_keeps_its_count(tmp_path: Path) -> None:
    train(tmp_path, [torch.rand(BATCH, WIDE)])
    before = json.loads((tmp_path / "cost.json").read_text())["flops_per_step"]
    train(tmp_path, [torch.rand(5 * BATCH, WIDE)])
    assert json.loads((tmp_path / "cost.json").read_text())["flops_per_step"] == before


def test_a_first_step_that_is_stopped_counts_nothing_and_leaves_no_counter(tmp_path: Path) -> None:
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path, [-torch.ones(BATCH, WIDE)])
        raise KeyboardInterrupt
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None


def test_attention_on_a_cpu_counts() -> None:
    query, key, value = (torch.rand(1, 2, 16, 8, requires_grad=True) for _ in range(3))
    with FlopCount() as counter:
        F.scaled_dot_product_attention(query, key, value).sum().backward()
    forward = 2 * 2 * 2 * 16 * 16 * 8  # two products of heads × length × length × width
    assert counter.total >= 3 * forward


def test_compiled_blocks_and_several_processes_are_not_counted() -> None:
    module = Small()
    alone = type("Trainer", (), {"world_size": 1})()
    assert can_count(alone, module)
    assert not can_count(type("Trainer", (), {"world_size": 2})(), module)
    module.first.compile()
    assert not can_count(alone, module)
