"""How fast instances are taken in by C-STORE, beside other receivers; run as `python -m bench.intake`."""
