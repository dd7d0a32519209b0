"""Judging a trained system on a corpus: figures with intervals, held against their targets."""
