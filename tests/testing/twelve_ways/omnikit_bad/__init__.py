"""Components that each break one promise."""
