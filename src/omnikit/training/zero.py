"""DeepSpeed's ZeRO as a strategy: what its engine is told, checkpoints that are folders, and whole weights at the end.

Weights stay float32, as in every other strategy; `bf16-mixed` is torch's autocast, which the engine starts by itself.
Nothing is offloaded: models that fit on no number of devices are no case of this.

Ref: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DeepSpeedStrategy
from torch import nn

from omnikit.errors import OmnikitError
from omnikit.nn.extras import extra

STAGES = {"deepspeed_stage_1": 1, "deepspeed_stage_2": 2, "deepspeed_stage_3": 3}
OWN = "omnikit.ckpt"
"""The file of a checkpoint's folder with what is not DeepSpeed's."""
AUTOCAST = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}


def zero_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """DeepSpeed's JSON for the settings of a trainer. Raises `OmnikitError` for settings that it cannot have here."""
    stage = STAGES[settings["strategy"]]
    if settings["precision"] not in (*AUTOCAST, "32-true"):
        raise OmnikitError(
            f"trainer.strategy={settings['strategy']} takes precision {', '.join(AUTOCAST)} or 32-true,\n"
            f"not {settings['precision']}: weights stay float32."
        )
    if settings.get("micro_tokens"):
        raise OmnikitError(
            f"trainer.strategy={settings['strategy']} learns the whole share of a batch at once: its engine wants one\n"
            "pass back a step. Set trainer.micro_tokens=null and take more devices, or trainer.strategy=fsdp2."
        )
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # what is in a batch is the recipe's; DeepSpeed only writes it into logs
        "gradient_clipping": settings["gradient_clip"] or 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": stage,
            "contiguous_gradients": True,
            "overlap_comm": True,
            "reduce_scatter": True,
        },
    }
    dtype = AUTOCAST.get(settings["precision"])
    return config if dtype is None else {**config, "torch_autocast": {"enabled": True, "dtype": dtype}}


def zero_strategy(settings: Mapping[str, Any]) -> DeepSpeedStrategy:
    """The strategy for the settings of a trainer. Raises `OmnikitError` where DeepSpeed is not installed."""
    config = zero_config(settings)
    extra("deepspeed", "deepspeed", f"trainer.strategy={settings['strategy']}")
    return ZeRO(config=config, precision_plugin=_AsTheyAre("32-true"))


class ZeRO(DeepSpeedStrategy):
    """DeepSpeed's engine; a checkpoint of it is a folder, in which omnikit has a file of its own."""

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Every process writes its share; the first one also what a run needs to know before it goes on."""
        super().save_checkpoint(checkpoint, filepath, storage_options)
        if self.is_global_zero:
            own = {name: value for name, value in checkpoint.items() if name.startswith("omnikit_")}
            torch.save(own, Path(filepath) / OWN)


class _AsTheyAre(DeepSpeedPrecision):
    """Batches are handed on as they are: frozen records, which autocast reads."""

    def convert_input(self, data: Any) -> Any:
        return data


def gather_zero(module: nn.Module, keep: bool) -> None:
    """Put whole weights on the CPU in the place of DeepSpeed's; of a sharded training every process has to call it.

    Only with `keep` does this process hold them afterwards.
    """
    parts = [part for part in module.modules() if any(hasattr(weight, "ds_id") for weight in part._parameters.values())]
    if not parts:
        return
    zero = extra("deepspeed", "deepspeed", "a run of DeepSpeed's third stage").zero
    for part in parts:
        for name, weight in part._parameters.items():
            if weight is None:
                continue
            with zero.GatheredParameters([weight]):
                whole = weight.detach().cpu().clone() if keep else weight.new_empty(0)
            part._parameters[name] = nn.Parameter(whole, requires_grad=weight.requires_grad)
