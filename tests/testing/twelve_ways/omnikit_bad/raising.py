"""A module that looks for its weights as soon as it is imported."""

raise FileNotFoundError("weights.safetensors is not in the working directory")
