"""The loss of a batch that several processes share: the same number, and the same gradients, as in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from omnikit.nn.processes import num_processes, sum_over_processes
from omnikit.types import Losses


def of_whole_batch(losses: Losses, count: int) -> Losses:
    """The losses of the whole batch, from those of this process's share, which are means over `count` of something.

    In value they are means over what all shares count; the total's gradient is this share's part of it times the number
    of processes, of which data-parallel training takes the mean. A share that counts nothing gives zeros.
    """
    if num_processes() == 1:
        return losses
    names = list(losses.parts)
    values = torch.stack([losses.total.detach(), *(losses.parts[name].detach() for name in names)]).double()
    device = values.device
    counted = sum_over_processes(torch.tensor(float(count), dtype=torch.float64, device=device))
    values = torch.where(torch.tensor(count > 0, device=device), values * count, 0.0)
    values = (sum_over_processes(values) / counted).to(losses.total.dtype)
    own = losses.total * (count * num_processes() / counted).to(losses.total.dtype)
    return Losses(own + (values[0] - own).detach(), dict(zip(names, values[1:], strict=True)))


def of_whole_mixture(losses: Losses, counts: Mapping[str, float], names: Sequence[str]) -> Losses:
    """The losses of the whole batch where every part is a mean over a count of its own, the total one over all counts.

    `names` are the parts that any process may have, in the same order everywhere; `counts` are of this process.
    """
    if num_processes() == 1:
        return losses
    total = of_whole_batch(Losses(losses.total, {}), int(sum(counts.values()))).total
    own = [(counts.get(name, 0.0), float(losses.parts[name]) if counts.get(name) else 0.0) for name in names]
    table = torch.tensor([(count, mean * count) for count, mean in own], dtype=torch.float64, device=total.device)
    counted, summed = sum_over_processes(table).unbind(1)
    rows = zip(names, counted, (summed / counted).to(total.dtype), strict=True)
    return Losses(total, {name: mean for name, count, mean in rows if count > 0})


def counts_of_all(counts: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Every count summed over the processes."""
    if num_processes() == 1:
        return dict(counts)
    total = sum_over_processes(torch.tensor(list(counts.values()), dtype=torch.float64, device=device))
    return dict(zip(counts, total.tolist(), strict=True))
