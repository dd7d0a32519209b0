"""The families of published weights that omnikit knows. One line a family; `base` says how to write one."""

from __future__ import annotations

from omnikit.published import emova, s2u, u2s
from omnikit.published.base import Layout

LAYOUTS: tuple[Layout, ...] = (s2u.LAYOUT, u2s.LAYOUT, u2s.STYLES, *emova.LAYOUTS)
"""In the order of reading: a part may ask for the parts that come before it."""
