"""Ways to be wrong, a class each."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.types import Frames
from omnikit_bad.honest import Honest


class NoSource(Honest):
    """Says neither what goes in and out nor where it comes from."""


class LooseSignature(Honest):
    """A parameter without a type, and any number of others.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def __init__(self, dim=8, *others: int) -> None:
        super().__init__(dim)


class KeepsState(Honest):
    """What belongs to a call is kept on the instance, where the next thread finds it.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, dim] → [B, N, dim]."""
        self.rows = getattr(self, "rows", 0) + 1
        started = self.rows
        time.sleep(0.05)
        found = super().project(frames)
        return replace(found, features=found.features * (1 + self.rows - started))


class NotInHalf(Honest):
    """Runs over where numbers are short.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, dim] → [B, N, dim]."""
        found = super().project(frames)
        is_short = found.features.dtype == torch.bfloat16
        return replace(found, features=found.features * (1e39 if is_short else 1.0))


class Watchful(nn.Linear):
    """A matrix that is another one while it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        """Vectors [..., D] → [..., D]."""
        return super().forward(x) * (2 if torch.compiler.is_compiling() else 1)


class SeesTheCompiler(Honest):
    """Computes something else when it is compiled.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def __init__(self, dim: int = 8) -> None:
        super().__init__(dim)
        self.linear = Watchful(dim, dim)


class SavesAPickle(Honest):
    """Puts a file beside its weights that is no data.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def save_extra(self, folder: Path) -> None:
        """A pickle of a list: protocol 4, an empty list, the end."""
        (folder / "extra.json").write_bytes(b"\x80\x04].")


class DrawsGlobally(Honest):
    """Takes its noise from the generator of everybody.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, dim] → [B, N, dim]."""
        torch.rand(1)
        return super().project(frames)


class MixesRows(Honest):
    """Normalises over the batch, so that a row depends on its neighbours.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, dim] → [B, N, dim]."""
        found = super().project(frames)
        return replace(found, features=found.features - found.features.mean(0))


class HidesATensor(Honest):
    """Keeps a tensor that `.to` does not know.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def __init__(self, dim: int = 8) -> None:
        super().__init__(dim)
        self.scale = torch.ones(dim)

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, dim] → [B, N, dim]."""
        found = super().project(frames)
        return replace(found, features=found.features * self.scale)


class ContractAllocates(Honest):
    """Makes a tensor to say a number.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    @classmethod
    def contract(cls, dim: Any) -> Any:
        """The same width on both sides."""
        width = torch.zeros(int(dim)).shape[0] if isinstance(dim, int) else dim
        return super().contract(json.loads(str(width)) if isinstance(width, int) else width)


class DropsInEvaluation(Honest):
    """Leaves out some of what it computes, also when nobody trains it.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, dim] → [B, N, dim]."""
        found = super().project(frames)
        return replace(found, features=functional.dropout(found.features, training=True))


class KeepsTheRate(Honest):
    """Leaves every second position out and says that they come as fast as before.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, dim] → [B, N / 2, dim]."""
        found = super().project(frames)
        return replace(found, features=found.features[:, ::2], lengths=(found.lengths + 1) // 2)

    def num_positions(self, num_frames: int) -> int:
        """Half of them."""
        return (num_frames + 1) // 2


class MiscountsRows(Honest):
    """Says that every row is one position longer than it is.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, dim] → [B, N, dim]."""
        found = super().project(frames)
        return replace(found, lengths=found.lengths + 1)
