"""A component whose source reads a pickle."""

from __future__ import annotations

from pathlib import Path

import torch

from omnikit_bad.honest import Honest


class ReadsPickles(Honest):
    """Fetches its weights from a file that may run anything.

    Contract: that of the honest one.
    Ref: none, an example of what not to do.
    """

    def fetch(self, path: Path) -> None:
        """Read what lies at `path`."""
        self.load_state_dict(torch.load(path, weights_only=False))
