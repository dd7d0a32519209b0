"""A package under no licence."""
