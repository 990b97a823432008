"""Ways out: one destination type a file."""
