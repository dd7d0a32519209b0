"""`projector/unlicensed`: honest, and nobody may use it."""

from __future__ import annotations

from omnikit_bad.honest import Honest


class Unlicensed(Honest):
    """Features → features, under no licence."""
