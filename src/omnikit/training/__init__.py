"""Training runs: from a resolved config to trained components on disk, with a record of how they came about."""
