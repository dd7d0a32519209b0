"""Units of self-supervised speech models, as parts of omnikit."""
