"""Drawing what was measured: one self-contained HTML page."""
