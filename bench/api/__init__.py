"""How fast the REST API answers among a million orders and takes uploads; run as `python -m bench.api`."""
