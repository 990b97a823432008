"""Whether a peer sends fast enough: bytes a second, kept up in every window of waiting for it.

Enter: how long we waited for the peer, and what came. Leaves: whether it is too slow. Only the time that we
wait is counted, never what our own disk takes; a window begins anew once it is passed, so that what
came fast at first buys no slowness later.
"""

from __future__ import annotations


class Pace:
    """The pace of one message or request."""

    __slots__ = ("_least", "_size", "_waited", "_window", "min_rate")

    def __init__(self, min_rate: int, window: float) -> None:
        """
        Args:
            min_rate: bytes a second; 0 for no limit.
            window: seconds of waiting over which it is kept up on average.
        """
        self.min_rate = min_rate
        self._window = window
        self._least = min_rate * window
        self._waited = 0.0
        self._size = 0

    def restart(self) -> None:
        """Another message begins."""
        self._waited, self._size = 0.0, 0

    def is_too_slow(self, waited: float, size: int) -> bool:
        """Count what came after so many seconds of waiting; whether a window has passed with too little."""
        self._waited += waited
        self._size += size
        if self._waited < self._window:
            return False
        if self._size < self._least * (self._waited / self._window):
            return True
        self.restart()
        return False
