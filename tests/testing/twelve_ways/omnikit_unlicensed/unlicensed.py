"""`projector/unlicensed`: honest, and nobody may use it."""

from __future__ import annotations

from omnikit_bad.honest import Honest


class Unlicensed(Honest):
    """Features → features, under no licence.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """
