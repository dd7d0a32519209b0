"""Pages of the documentation that are made from the registry: one a component, and a list of all."""
