"""A listening socket that several processes accept on, so that each gets its part of the connections.

Enter: connections, of which the kernel tells every process at once. Leave: each to one of them, rather to one
that has few: who has more hesitates for a moment, in which another takes it. Nothing has to be agreed on.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

HESITATION = 0.001  # seconds for each descriptor that is open beyond those at the beginning
LONGEST = 0.05  # seconds; past that, all have plenty


class SharedSocket(socket.socket):
    """Made of a descriptor; non-blocking."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(fileno=descriptor)
        self.setblocking(False)
        self._at_first = _open_descriptors()

    def accept(self) -> tuple[socket.socket, Any]:
        """A connection; BlockingIOError when another process was faster."""
        more = _open_descriptors() - self._at_first
        if more > 0:
            time.sleep(min(HESITATION * more, LONGEST))
        return super().accept()


def _open_descriptors() -> int:
    """Of this process: a connection is one, whoever has it and however it is wrapped."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 names are enough
