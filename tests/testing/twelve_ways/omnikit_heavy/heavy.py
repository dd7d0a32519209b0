"""`projector/heavy`: honest, in a package that imports torch to be imported."""

from __future__ import annotations

from omnikit_bad.honest import Honest


class Heavy(Honest):
    """Features → features, in a package that imports torch at once.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """
