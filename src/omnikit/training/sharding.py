"""How a training spreads over devices and memory: replicated or sharded weights, checkpointed activations, compiling.

| strategy | every process holds | needs |
| --- | --- | --- |
| `auto`, `ddp` | everything | |
| `fsdp2` | its share of weights, gradients and optimiser states; a block is whole while it is used | |
| `deepspeed_stage_1`, `deepspeed_stage_2` | weights, a share of optimiser states (and gradients) | `deepspeed`, CUDA |
| `deepspeed_stage_3` | its share of everything | `deepspeed`, CUDA |

Ref: Zhao et al. 2023 (FSDP, arXiv 2304.11277); Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054); Chen et al. 2016
(activation checkpointing, arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from omnikit.errors import OmnikitError, unknown_name
from omnikit.training.zero import STAGES as ZERO_STAGES
from omnikit.training.zero import gather_zero, zero_strategy

SHARDED = "fsdp2"
STRATEGIES = ("auto", "ddp", SHARDED, *ZERO_STAGES)
UNUSED = "ddp_find_unused_parameters_true"
"""Data parallel, minding weights that a step leaves out: layers dropped at random, an encoder of pictures unseen."""


def strategy_of(settings: Mapping[str, Any]) -> str | Strategy:
    """What Lightning is told for the settings of a trainer.

    Raises `UnknownName` for another strategy, `OmnikitError` where a library is missing.
    """
    name, devices = settings["strategy"], settings["devices"]
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    if name == SHARDED:
        return Sharded()
    if name in ZERO_STAGES:
        return zero_strategy(settings)
    several = torch.cuda.device_count() > 1 if devices == "auto" else str(devices) not in ("1", "[0]")
    return UNUSED if several or settings["num_nodes"] > 1 or name == "ddp" else name


class Sharded(ModelParallelStrategy):
    """Fully sharded data parallelism (FSDP2) for stages whose module has several like blocks; also on CPU, by gloo.

    Every block of such a list is a group of its own; what remains is the group of the module. Weights stay float32, as
    in every other strategy; what is computed in bfloat16 is decided by the trainer's precision.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Start the processes' group; all of them share the data."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def setup(self, trainer: lightning.Trainer) -> None:
        """Cut the weights before the optimiser is made of them."""
        module = self.lightning_module
        assert module is not None and self.accelerator is not None
        if not module.automatic_optimization:
            raise OmnikitError(
                f"trainer.strategy={SHARDED} cannot train {type(module).__name__}, which steps two optimisers itself.\n"
                "Use trainer.strategy=ddp for this stage; it fits on every device."
            )
        self.accelerator.setup(trainer)
        whole = {name: value.detach() for name, value in tensors_of(module)}
        shard(module, self.device_mesh["data_parallel"])
        deal(module, whole, self.root_device)
        self.model = self.precision_plugin.convert_module(module)
        self.model_to_device()
        self.barrier()
        self.setup_optimizers(trainer)
        self.setup_precision_plugin()


def shard(module: lightning.LightningModule, mesh: Any) -> None:
    """Cut the weights of a stage over the processes of `mesh`, block by block; methods that read put them together."""
    for block in blocks_of(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for method in getattr(module, "uses_weights", ("training_step", "validation_step")):
        register_fsdp_forward_method(module, method)


def deal(module: nn.Module, whole: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Give every process its share of the `whole` weights that the first one holds, one tensor after the other.

    The others' may have been cut before they had any memory: they hold their shares, and the tensor that is dealt.
    """
    first = distributed.get_rank() == 0
    if not first:
        module.to_empty(device=device)
    for name, value in tensors_of(module):
        full = whole[name].to(device) if first else torch.empty(value.shape, dtype=value.dtype, device=device)
        full = full.contiguous()
        distributed.broadcast(full, 0)
        if first:
            continue
        own = value.detach()
        if isinstance(own, DTensor):
            full = distribute_tensor(full, own.device_mesh, own.placements, src_data_rank=None).to_local()
            own = own.to_local()
        own.copy_(full)


def tensors_of(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers by name, those among them that no file holds, too."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def gather(module: nn.Module, keep: bool) -> None:
    """Put whole weights in the place of cut ones, on the CPU; of a sharded training every process has to call it.

    Only with `keep` does this process hold them afterwards; without, its part has no weights any more.
    """
    gather_zero(module, keep)
    parts = list(module.modules())
    for part in parts:
        if isinstance(part, FSDPModule):
            part.reshard()
    for part in parts:
        for name, weight in part._parameters.items():
            if isinstance(weight, DTensor):
                whole = weight.full_tensor().detach()
                whole = whole.cpu() if keep else whole.new_empty(0)
                part._parameters[name] = nn.Parameter(whole, requires_grad=weight.requires_grad)


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """The like blocks of a language model, in order: the elements of the longest list of modules in its `backbone`."""
    lists = [part for part in getattr(module, "backbone", module).modules() if isinstance(part, nn.ModuleList)]
    yield from max(lists, key=len, default=())


def checkpoint_activations(module: nn.Module) -> None:
    """Let transformers recompute the insides of their blocks in the backward pass, instead of keeping them.

    Raises `OmnikitError` where no part of the module can.
    """
    able = [part for part in module.modules() if getattr(part, "supports_gradient_checkpointing", False)]
    if not able:
        raise OmnikitError(
            f"trainer.activation_checkpointing: no part of {type(module).__name__} can recompute its activations.\n"
            "It works for the stages of the language model; leave it off here."
        )
    for part in able:
        part.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]


def compile_blocks(module: nn.Module, backend: str = "inductor") -> None:
    """Compile the blocks of the language model for any length. Raises `OmnikitError` where there are none.

    `backend` is one of `torch.compile`'s; `aot_eager` traces forward and backward and needs no compiler.
    """
    blocks = list(blocks_of(module))
    if not blocks:
        raise OmnikitError(
            f"trainer.compile: {type(module).__name__} has no like blocks to compile; leave it off here."
        )
    for block in blocks:
        block.compile(dynamic=True, backend=backend)
