"""Copies of modules for inference: normalised weights multiplied out once, everything else shared.

Ref: Salimans and Kingma, "Weight Normalization", NeurIPS 2016, equation 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from omnikit.nn.weight_norm import WNConv1d, WNConv2d, WNConvTranspose1d, joined_weight

_PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    WNConv1d: nn.Conv1d,
    WNConv2d: nn.Conv2d,
    WNConvTranspose1d: nn.ConvTranspose1d,
}

Module = TypeVar("Module", bound=nn.Module)
Made = TypeVar("Made")


@torch.no_grad()
def folded(module: Module) -> Module:
    """A copy in evaluation mode whose convolutions are plain; other weights are those of `module`, not copies of them.

    `module` itself, its names and its mode are left alone.
    """
    twin = module.__new__(type(module))
    twin.__dict__ = {
        **module.__dict__,
        "training": False,
        "_parameters": dict(module._parameters),
        "_buffers": dict(module._buffers),
        "_modules": {name: None if child is None else folded(child) for name, child in module._modules.items()},
    }
    if type(module) in _PLAIN:
        weight = nn.Parameter(joined_weight(module), requires_grad=False)
        del twin._parameters["weight_g"], twin._parameters["weight_v"]
        twin._parameters["weight"] = weight
        twin.__class__ = _PLAIN[type(module)]  # type: ignore[assignment]
    return twin


class Remade(Generic[Made]):
    """Something made of weights, kept until one of them changes; copies and files of its owner go without."""

    def __init__(self) -> None:
        self._made: Made | None = None
        self._key: tuple[object, ...] = ()
        self._probe: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> Remade[Made]:
        return Remade()

    def __reduce__(self) -> tuple[type[Remade[Made]], tuple[()]]:
        return Remade, ()

    def get(self, weights: Iterable[Tensor], make: Callable[[], Made], *more: object) -> Made:
        """What `make` gives, anew where a weight or one of `more` is not what it was.

        Every write to a tensor counts up its version, except writes through `.data`: one number of each weight is
        compared for those.
        """
        tensors = [weight.detach() for weight in weights]
        key = (*more, *((tensor.data_ptr(), tensor._version) for tensor in tensors))
        probe = torch.stack([tensor.flatten()[0].float() for tensor in tensors])
        if self._made is None or self._probe is None or key != self._key or not torch.equal(probe, self._probe):
            self._made, self._key, self._probe = make(), key, probe
        return self._made
