"""Listen for DICOM associations and give each its thread (PS3.8 9.1).

Enter: TCP connections. Leave: a started `Association` for each, as long as there are not too many; how many
are admitted is counted here. A listener can rest (nobody new) and stop (everybody out within a grace).
"""

from __future__ import annotations

import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable

from channels.transport.dimse_pdu import LINGER
from channels.transport.dimse_scp import Association, Limits, Service

logger = logging.getLogger("pons.dimse")

_NEGOTIATING = 64  # connections that may be open beyond the associations allowed


class Acceptor:
    """One listening socket and its associations."""

    def __init__(
        self,
        bind: Callable[[], socket.socket],
        service: Service,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        Args:
            bind: gives the listening, non-blocking socket, which is ours to close and others may accept on.
        """
        self.service = service
        self.limits = limits
        self.tls = tls
        self.stopping = False
        self._bind = bind
        self._resting = False
        self._on_empty: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._open: set[Association] = set()
        self._admitted = 0

    def start(self) -> tuple[str, int]:
        """Bind and accept; returns address and port. OSError when the address cannot be bound."""
        self._socket = self._bind()
        # Closing the write end wakes every poll on the read end: this is how the threads are told.
        self.wake, self._stop_signal = os.pipe()
        self._rest_wake, self._rest_signal = os.pipe()
        self._thread = threading.Thread(target=self._accept, name="pons-dimse-accept", daemon=True)
        self._thread.start()
        host, port = self._socket.getsockname()[:2]
        return host, port

    def stop(self, grace: float) -> None:
        """No new associations; idle ones are aborted, a C-STORE under way has ``grace`` seconds."""
        self.stopping = True
        self.rest()
        os.close(self._stop_signal)
        deadline = time.monotonic() + grace
        for association in self._snapshot():
            association.join(max(0.0, deadline - time.monotonic()))
        for association in self._snapshot():
            association.cut()
        deadline = time.monotonic() + 2 * LINGER
        for association in self._snapshot():
            association.join(max(0.0, deadline - time.monotonic()))
        os.close(self.wake)

    def rest(self, on_empty: Callable[[], object] = lambda: None) -> None:
        """No new associations; those that are open go on. Returns at once, harmless when repeated.

        Args:
            on_empty: called from any thread when no connection is open any more.
        """
        with self._lock:
            if self._resting:
                return
            self._resting = True
        os.close(self._rest_signal)
        self._thread.join()
        self._socket.close()
        os.close(self._rest_wake)
        with self._lock:
            self._on_empty = on_empty
            emptied = not self._open
        if emptied:
            on_empty()

    def cut(self) -> None:
        """End what is still open, whatever is under way; `stop` returns soon."""
        for association in self._snapshot():
            association.cut()

    def _snapshot(self) -> list[Association]:
        with self._lock:
            return list(self._open)

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._rest_wake, select.POLLIN)
        while True:
            poll.poll()
            if self._resting:
                return
            try:
                connection, address = self._socket.accept()
            except BlockingIOError:  # who takes our place was faster
                continue
            except OSError as error:  # the peer is gone again, or descriptors ran out: not the end of us
                logger.warning("connection not accepted", extra={"pons": {"reason": error.strerror}})
                time.sleep(0.05)
                continue
            with self._lock:
                full = len(self._open) >= self.limits.max_associations + _NEGOTIATING
                if not full:
                    association = Association(self, connection, address[0])
                    self._open.add(association)
            if full:
                connection.close()
                logger.warning("connection refused: too many", extra={"pons": {"remote_address": address[0]}})
            else:
                association.start()

    def admitted(self) -> bool:
        """Count an association in, unless there are enough."""
        with self._lock:
            if self._admitted >= self.limits.max_associations:
                return False
            self._admitted += 1
            return True

    def dismissed(self) -> None:
        """Count an association out."""
        with self._lock:
            self._admitted -= 1

    def forget(self, association: Association) -> None:
        """The association's thread is about to end."""
        with self._lock:
            self._open.discard(association)
            emptied = not self._open
        if emptied and self._resting:
            self._on_empty()
