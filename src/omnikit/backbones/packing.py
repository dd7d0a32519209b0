"""Sequences of any lengths in one row without padding, and the groups of similar length in which they attend.

Everything in a causal model but attention works on single positions, so one row [P, W] of all sequences is as good as
padded rows, and no position of it is wasted. Attention runs on padded groups, whose longest sequence is at most a
quarter longer than their shortest: causality hides padding on the right, so no mask is needed, and a block-diagonal one
of P x P never exists.
Letters: P positions of all sequences, G sequences of a group, L positions of its longest, W width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAME = "omnikit"
"""What transformers calls the attention of `attention.attend`, which knows packed rows."""
VARLEN = ("flash_attention_2", "flash_attention_3", "flex_attention")
"""Kinds of attention of transformers that need no dense mask for a packed row."""
GROUP_RANGE = 1.25
"""The longest sequence of a group over its shortest, at most."""
_ATTENDING = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class Packing:
    """Where every sequence lies in the row, and how the row is cut into groups.

    `positions` [P] count from 0 in every sequence; `groups` are places in the row [G, L], where padding repeats the
    last place of its sequence; `order` [P] is where a place of the row stands in all groups one behind the other.
    """

    starts: tuple[int, ...]
    positions: Tensor
    groups: tuple[Tensor, ...]
    order: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Packing:
        """The packing of sequences of these lengths, all above 0, in their order."""
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        groups, order, done = [], torch.empty(starts[-1], dtype=torch.long), 0
        for members in similar(lengths):
            first = torch.tensor([starts[member] for member in members])  # [G]
            own = torch.tensor([lengths[member] for member in members])  # [G]
            steps = torch.arange(int(own.max()))  # [L]
            places = first[:, None] + torch.minimum(steps, own[:, None] - 1)  # [G, L]
            real = steps < own[:, None]  # [G, L]
            order[places[real]] = done + real.flatten().nonzero()[:, 0]
            done += places.numel()
            groups.append(places.to(device))
        positions = torch.cat([torch.arange(length) for length in lengths])
        return cls(tuple(starts[:-1]), positions.to(device), tuple(groups), order.to(device))

    def split(self, row: Tensor) -> list[Tensor]:
        """A row [P, …] as its groups [G, L, …]."""
        return [row.index_select(0, places.flatten()).unflatten(0, places.shape) for places in self.groups]

    def join(self, groups: Sequence[Tensor]) -> Tensor:
        """Groups [G, L, …] as a row [P, …]; what stands on padding is left out."""
        return torch.cat([group.flatten(0, 1) for group in groups]).index_select(0, self.order)


def similar(lengths: Sequence[int]) -> list[list[int]]:
    """The numbers of all sequences in groups of similar length, the short ones first."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if not groups or lengths[number] > GROUP_RANGE * lengths[groups[-1][0]]:
            groups.append([])
        groups[-1].append(number)
    return groups


def can_pack(model: Any) -> bool:
    """Whether everything in a transformers model that looks at other positions keeps to the sequences of a packed row.

    Not so for recurrent and convolutional layers, for attention of a model's own or one that needs a mask of the whole
    row, and where positions are not told.
    """
    kinds = set(getattr(model.config, "layer_types", None) or _ATTENDING)
    return bool(
        model.config._attn_implementation in (NAME, *VARLEN)
        and model._supports_attention_backend
        and not model._is_stateful
        and kinds <= _ATTENDING
        and "position_ids" in inspect.signature(model.forward).parameters
    )


def read_packed(model: Any, row: Tensor, packing: Packing) -> Tensor:
    """Last hidden states [P, W] of the embeddings [P, W] of packed sequences, each read as if it were alone.

    A model that cannot pack reads the groups one after the other, with their little padding. Kernels for sequences of
    any lengths find them by positions that start anew.
    """
    if not can_pack(model):
        groups = [model(inputs_embeds=group, use_cache=False).last_hidden_state for group in packing.split(row)]
        return packing.join(groups)
    told: dict[str, Any] = {}
    if model.config._attn_implementation == NAME:
        nothing = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=row.device)  # or else a mask of P x P would be made
        told = {"packing": packing, "attention_mask": nothing}
    positions = packing.positions[None]
    return model(inputs_embeds=row[None], position_ids=positions, use_cache=False, **told).last_hidden_state[0]
