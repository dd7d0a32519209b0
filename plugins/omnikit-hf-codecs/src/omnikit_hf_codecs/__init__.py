"""Codecs of the transformers library as parts of omnikit."""
