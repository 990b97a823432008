"""The fault rig: real engines, senders and receivers, faults by seed, and a judge who reads the records."""
