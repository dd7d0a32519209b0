"""What happens to a part between its last step and the disk: its numbers are rounded to those that are shipped."""

from __future__ import annotations

import torch
from torch import nn


def round_to_half(module: nn.Module) -> None:
    """Round every floating-point tensor to float16 values, so that what is measured is what is shipped."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().to(tensor.dtype))
