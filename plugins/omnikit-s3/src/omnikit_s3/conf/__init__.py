"""Config variants of this distribution."""
