"""When the next delivery may begin: the generic cell rate algorithm (ITU-T I.371).

Pure. One number is kept of a destination: the earliest time of its next slot. A late start does not
lose the slots it missed within ``TOLERANCE``, so a busy engine still reaches the rate; over any span of
T seconds no more than rate x (T + TOLERANCE) + 1 begin.
"""

from __future__ import annotations

TOLERANCE = 0.1  # seconds


def free_slots(rate: float, next_slot_at: float, now: float) -> int:
    """How many deliveries may begin now, at ``rate`` a second."""
    first = max(next_slot_at, now - TOLERANCE)
    if first > now:
        return 0
    return int((now - first) * rate + 1e-6) + 1


def after_taking(rate: float, next_slot_at: float, now: float, taken: int) -> float:
    """The earliest time of the next slot once ``taken`` have begun; those not taken stay free."""
    return max(next_slot_at, now - TOLERANCE) + taken / rate if taken else next_slot_at
