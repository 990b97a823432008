"""Limits of intake that contradict each other, so that one of them never holds.

Enters: a reading. Leave: warnings; an engine starts with them all the same.
"""

from __future__ import annotations

from engine.reading import Reading
from engine.settings import size_text

_CODE = "limits-at-odds"


def check_limits(reading: Reading) -> None:
    """Of one site no more than of all; room for the largest instance."""
    for name, declared in reading.inbound.items():
        for of_all in ("max_associations", "max_requests"):
            total = getattr(declared.settings, of_all, None)
            of_one = getattr(declared.settings, f"{of_all}_per_site", None)
            if isinstance(total, int) and isinstance(of_one, int) and of_one > total:
                reading.warn(
                    ("inbound", name, f"{of_all}_per_site"),
                    f"{of_one} of one site are never reached: {of_all} is {total}, and one site can take all",
                    _CODE,
                )
    engine = reading.engine
    if engine.max_bytes_in_flight < engine.max_instance:
        reading.warn(
            ("engine", "max_bytes_in_flight"),
            f"one instance can be larger ({size_text(engine.max_instance)} by max_instance), and would keep "
            "all others out while it arrives; allow for some of the largest",
            _CODE,
        )
