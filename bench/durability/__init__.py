"""What is synced before an instance is acknowledged; run as `python -m bench.durability`."""
