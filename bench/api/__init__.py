"""How fast instances are sent by C-STORE, beside other senders; run as `python -m bench.send`."""
