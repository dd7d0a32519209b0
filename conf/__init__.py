"""Hydra configuration of omnikit, shipped as the package `omnikit.conf`: systems, stages, experiments and variants."""
