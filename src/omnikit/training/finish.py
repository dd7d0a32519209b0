"""What happens to a part between its last step and the disk: rounding, and a name for what its numbers mean."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from omnikit.slots.base import Component


def round_to_half(module: nn.Module) -> None:
    """Round every floating-point tensor to float16 values, so that what is measured is what is shipped."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().to(tensor.dtype))


def name_after_weights(component: Component, parameter: str, prefix: str) -> str:
    """Set `parameter` to a name that is a hash of the weights, and return it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(component.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    name = f"{prefix}-{digest.hexdigest()[:10]}"
    setattr(component, parameter, name)
    component.parameters_given[parameter] = name
    return name
