"""Supervised semantic speech tokens, as parts of omnikit."""
