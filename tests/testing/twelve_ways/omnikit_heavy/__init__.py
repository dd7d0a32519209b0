"""A package that is slow to list."""

from omnikit_heavy.heavy import Heavy as Heavy
