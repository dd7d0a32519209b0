"""Low-rank adapters in a transformers model, and which rows of its embeddings learn.

Adapters stay beside the weights that they change, on disk too: the weights keep the names and values that they were
published with, so a system saves the adapters and refers to the rest, and a later stage goes on from both. Merging them
would make another full copy of every weight, and a stage that follows could no longer tell what had been learnt.

Letters: V vocabulary, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnikit.errors import OmnikitError, unknown_name
from omnikit.nn.extras import extra
from omnikit.slots.groups import plain

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ROWS = ("all", "new", "none")
_MARK = ".lora_"


@dataclass(frozen=True)
class Lora:
    """Adapters of `rank` (0 is none) on the linear layers named `targets`, scaled by `alpha` / `rank`.

    Ref: Hu et al. 2021 (arXiv 2106.09685). The published EMOVA configuration is rank 128, alpha 256, dropout 0.05.
    """

    rank: int = 0
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEARS


LORA = plain(Lora())


def add_adapters(model: nn.Module, lora: Lora) -> None:
    """Put adapters beside the linear layers of `model`; they start without effect.

    Raises `OmnikitError` without peft or for sizes that make no adapter, `UnknownName` for a target the model lacks.
    """
    if lora.rank < 0 or lora.alpha <= 0 or not 0 <= lora.dropout < 1:
        raise OmnikitError(
            f"lora takes rank >= 0, alpha > 0 and 0 <= dropout < 1; got {lora.rank}, {lora.alpha} and {lora.dropout}."
        )
    linears = {name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    for target in lora.targets:
        if target not in linears:
            raise unknown_name("target of lora", target, linears)
    peft = extra("peft", "lora", "backbone/hf_causal with lora.rank above 0")
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        bias="none",
    )
    peft.inject_adapter_in_model(config, model)


def file_name(name: str) -> str:
    """The name on disk of a tensor of a model with adapters: what is adapted keeps its published name."""
    return name.replace(".base_layer.", ".")


def adapters_of(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and tensors of the adapters."""
    return ((name, weight) for name, weight in model.named_parameters() if _MARK in name)


def freeze_below_adapters(model: nn.Module) -> None:
    """Let only the adapters learn, where there are any."""
    adapters = [weight for _, weight in adapters_of(model)]
    if adapters:
        model.requires_grad_(False)
        for weight in adapters:
            weight.requires_grad_(True)


def read_new_rows_only(table: nn.Module, first: int) -> None:
    """Gradients of what `table` looks up reach rows from `first` on only."""

    def cut(_: nn.Module, ids: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        return torch.where(ids[0].unsqueeze(-1) >= first, rows, rows.detach())

    table.register_forward_hook(cut)


def logits_of(hidden: Tensor, head: Tensor, first: int) -> Tensor:
    """Logits […, V] of hidden states […, W] by a head [V, W] whose rows learn from `first` on."""
    if first == 0:
        return F.linear(hidden, head)
    return torch.cat([F.linear(hidden, head[:first].detach()), F.linear(hidden, head[first:])], dim=-1)
