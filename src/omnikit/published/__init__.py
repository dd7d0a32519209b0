"""Checkpoints that others published, read as data and turned into components. To add a family, see `base`."""
