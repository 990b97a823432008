"""Listen for DICOM associations and give each its thread (PS3.8 9.1).

Enter: TCP connections. Leave: a started `Association` for each. How many may have an association is the
service's to say; connections that have none are limited here, and the oldest goes when there are too
many (`dimse_connections`), so that whoever asks gets in. A listener can rest (nobody new) and stop
(everybody out within a grace).
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

from channels.transport.dimse_connections import Connections
from channels.transport.dimse_pdu import LINGER
from channels.transport.dimse_scp import Association, Limits, Service

logger = logging.getLogger("pons.dimse")

_NEGOTIATING = 64  # connections that may be open without an association, half of them from one address
_TELL_EVERY = 10.0  # seconds between two log lines about connections that had to go


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
        self._without: Connections[Association] = Connections(_NEGOTIATING)
        self._closed = self._too_slow = 0
        self._told = 0  # of those that were closed, and when
        self._told_at = -_TELL_EVERY

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
                full = len(self._open) >= self.limits.max_associations + 2 * _NEGOTIATING
                if not full:
                    association = Association(self, connection, address[0])
                    self._open.add(association)
            if full:  # those that had to go take their time
                connection.close()
                logger.warning("connection refused: too many", extra={"pons": {"remote_address": address[0]}})
                continue
            gone = self._without_association(association)
            try:
                association.start()
            except RuntimeError:  # the system gives us no thread more
                logger.warning("connection not accepted", extra={"pons": {"reason": "no thread is left"}})
                self.forget(association)
                connection.close()
            if gone is not None:
                gone.join(LINGER)  # so that there are never many more threads than connections allowed

    @property
    def waiting(self) -> int:
        """Connections that have no association at this moment."""
        return len(self._without)

    @property
    def closed(self) -> int:
        """Connections that were closed to make room for others."""
        return self._closed

    @property
    def too_slow(self) -> int:
        """Messages that were aborted since they came more slowly than `Limits.min_rate`."""
        return self._too_slow

    def admitted(self, association: Association) -> None:
        """The connection has an association from now on."""
        with self._lock:
            self._without.discard(association)

    def dismissed(self, association: Association) -> None:
        """Its association is over; the connection is open until the peer has heard so."""
        self._without_association(association)

    def _without_association(self, association: Association) -> Association | None:
        """Count a connection that has none; returns another that has been cut off for it, if there is one."""
        with self._lock:
            if association not in self._open:  # over already
                return None
            gone = self._without.add(association, association.remote_address)
            if gone is None:
                return None
            self._closed += 1
            now = time.monotonic()
            since = self._closed - self._told
            is_told = now - self._told_at >= _TELL_EVERY  # a flood must not fill the log as well
            if is_told:
                self._told, self._told_at = self._closed, now
        gone.cut()
        if is_told:
            facts = {"remote_address": gone.remote_address, "closed": since}
            logger.warning("connections closed that asked for no association", extra={"pons": facts})
        return gone

    def forget(self, association: Association) -> None:
        """The association's thread is about to end."""
        with self._lock:
            self._open.discard(association)
            self._without.discard(association)
            self._too_slow += association.too_slow
            emptied = not self._open
        if emptied and self._resting:
            self._on_empty()
