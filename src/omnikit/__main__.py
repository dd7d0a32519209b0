"""`python -m omnikit VERB …`: the command line of the environment that this Python belongs to."""

from __future__ import annotations

import sys

from omnikit.ablation.processes import end_with_parent
from omnikit.cli import main

if __name__ == "__main__":
    end_with_parent()
    sys.exit(main())
