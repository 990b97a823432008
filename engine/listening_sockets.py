"""The sockets that ways in listen on, handed from a channel to the one that takes its place.

Enter: an address. Leave: a bound, listening, non-blocking TCP socket, the asker's to close. Where another
channel still listens there, it is a duplicate of that channel's: a new table changes who answers, and no
peer is refused meanwhile, for what the kernel has queued is on the one socket that both hold.
"""

from __future__ import annotations

import socket
import threading

BACKLOG = 128  # connections that the kernel keeps until they are accepted


def bound(host: str, port: int) -> socket.socket:
    """A socket of its own; OSError when the address cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.create_server((host, port), family=family, backlog=BACKLOG)
    opened.setblocking(False)  # of two that wait for the same connection one gets it
    return opened


class ListeningSockets:
    """Those of one engine; safe in any thread."""

    def __init__(self) -> None:
        self._lent: dict[tuple[str, int], socket.socket] = {}
        self._lock = threading.Lock()

    def bind(self, host: str, port: int) -> socket.socket:
        """A socket for an address, shared with whoever has it; OSError when it cannot be bound."""
        with self._lock:
            lent = self._shared(host, port) or bound(host, port)
            if port:
                self._lent[host, port] = lent
            return lent

    def _shared(self, host: str, port: int) -> socket.socket | None:
        holder = self._lent.get((host, port))
        if holder is None or holder.fileno() == -1:  # it has been closed
            return None
        return holder.dup()
