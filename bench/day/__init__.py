"""A day of a hospital in ten minutes: associations that open, send, idle and drop; `python -m bench.day`."""
