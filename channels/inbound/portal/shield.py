"""What patients are called is shielded from those whose role needs it not, until they ask to see it.

Enter: who asked, for which page, and when. Leaves: whether it is shown. It is shown in the answer to the
asking and, by the process that answered, on that page for five minutes more; another process shields it
again, which errs on the side of the patient.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SHOWN_FOR = 300.0  # seconds
_MOST = 10_000


class Shield:
    """Who was shown identifiers where; lives on the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}  # session, path -> when it is shielded again

    def lift(self, session_id: str, path: str) -> None:
        """Show them from now on."""
        now = self._clock()
        if len(self._until) >= _MOST:
            self._until = {key: until for key, until in self._until.items() if until > now}
        if len(self._until) < _MOST:
            self._until[session_id, path] = now + SHOWN_FOR

    def lower(self, session_id: str, path: str) -> None:
        """Hide them again."""
        self._until.pop((session_id, path), None)

    def is_lifted(self, session_id: str, path: str) -> bool:
        """Whether they are shown there."""
        return self._until.get((session_id, path), 0.0) > self._clock()
