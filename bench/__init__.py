"""Benchmarks: `python -m bench.NAME`, one table and bench/out/NAME.json each."""
