"""What `quality_control` measures on a diffusion series, and how a protocol judges the numbers."""
