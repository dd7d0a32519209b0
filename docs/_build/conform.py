"""Hold every component to the promises of its slot, for the pages of the documentation (`nox -s docs` runs it).

    PYTHONPATH=tests python docs/_build/conform.py             # those that changed since they were last held
    PYTHONPATH=tests python docs/_build/conform.py style/none  # these
"""

from __future__ import annotations

import sys

from component_pages.conformance import hold_all
from conformance.small_parameters import VARIANTS
from hooks import RESULTS

from omnikit.errors import OmnikitError

if __name__ == "__main__":
    try:
        small = {name: next(iter(sizes.values())) for name, sizes in VARIANTS.items()}
        sys.exit(hold_all(RESULTS, sys.argv[1:], small))
    except OmnikitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
