"""Ablation studies: from a question to a plan, its cells as processes, and a sweep folder that reports read."""
