"""Ways to tell how the user speaks."""
