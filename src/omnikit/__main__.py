"""`python -m omnikit VERB …`: the command line of the environment that this Python belongs to."""

from __future__ import annotations

import sys

from omnikit.cli import main

if __name__ == "__main__":
    sys.exit(main())
