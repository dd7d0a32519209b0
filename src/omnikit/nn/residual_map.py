"""A linear map with a hidden layer beside it.

Letters: D and E widths.
"""

from __future__ import annotations

from torch import Tensor, nn


class ResidualMap(nn.Module):
    """[…, D] → […, E]: a linear map, and a hidden layer that starts at zero: what is additive is learnt first."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim)
        self.bent = nn.Sequential(nn.Linear(in_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, out_dim))
        nn.init.zeros_(self.bent[2].weight)
        nn.init.zeros_(self.bent[2].bias)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both."""
        return self.linear(x) + self.bent(x)
