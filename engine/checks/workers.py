"""Whether processes for receiving (`engine.workers`) are of any use.

Enters: a reading. Leave: warnings; an engine starts with them all the same.
"""

from __future__ import annotations

import os

from engine.reading import Reading

_CODE = "idle-workers"
_PLACE = ("engine", "workers")


def check_workers(reading: Reading) -> None:
    """There is a way in that several processes can serve."""
    if reading.engine.workers > 1 and not any(one.type.processes for one in reading.inbound.values()):
        reading.warn(
            _PLACE,
            "no way in of this table is served by several processes; c_store is one that can be",
            _CODE,
        )


def check_cores(reading: Reading) -> None:
    """Each has a core of this machine."""
    workers, cores = reading.engine.workers, len(os.sched_getaffinity(0))
    if workers > max(1, cores):
        reading.warn(
            _PLACE,
            f"{workers} processes share the {cores} cores of this machine, and each costs memory; "
            "write no more than there are",
            _CODE,
        )
