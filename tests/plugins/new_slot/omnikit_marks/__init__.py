"""A slot of its own: sound that says of itself that a machine made it."""
