"""HTTP connections on which no request comes: given a time, a size and a number (RFC 9112 2.2, 9.3).

Enter: what uvicorn reads of a connection. Leave: the same, unless the head of a request takes too long or is
too large: that is answered with 408 or 431, and closed. Of too many connections that wait for a head,
the oldest of the address that has the most goes, so that whoever asks for something gets in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PromptProtocol(HttpToolsProtocol):
    """uvicorn's protocol, for clients that know what they want."""

    head_timeout = 30.0  # seconds
    max_head = 64 << 10  # bytes
    max_waiting = 128  # connections; half of them from one address

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_due: asyncio.TimerHandle | None = None  # while a head is waited for
        self._head_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client may ask now."""
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self.max_waiting // 2:
            _make_room([one for one in self.connections if isinstance(one, PromptProtocol)])

    def data_received(self, data: bytes) -> None:
        """Part of a head, or of a body."""
        super().data_received(data)
        if self._head_due is not None:
            self._head_size += len(data)
            if self._head_size > self.max_head:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._head_due is None:  # not the first of its connection
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """What follows is limited by whoever reads it."""
        self._wait_no_longer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._wait_no_longer()
        super().connection_lost(exc)

    @property
    def waits_since(self) -> float | None:
        """The loop's time since when a head is waited for."""
        return None if self._head_due is None else self._head_due.when() - self.head_timeout

    def _wait_for_head(self) -> None:
        self._head_size = 0
        self._head_due = self.loop.call_later(self.head_timeout, self._too_late)

    def _wait_no_longer(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _too_late(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_for_head()  # it was sent behind a request that is still being served
        elif self._head_size:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.give_way()

    def _refuse(self, status: HTTPStatus) -> None:
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        self.transport.write(head.encode())
        self.give_way()

    def give_way(self) -> None:
        """Close a connection on which nothing is under way."""
        self._wait_no_longer()
        self.transport.close()


def _make_room(connections: Sequence[PromptProtocol]) -> None:
    waiting = {one: one.waits_since for one in connections if one.waits_since is not None}
    addresses = Counter(one.client[0] if one.client else "" for one in waiting)
    for address, count in addresses.most_common(1):
        most = PromptProtocol.max_waiting
        if count > most // 2 or len(waiting) > most:
            its = [one for one in waiting if (one.client[0] if one.client else "") == address]
            min(its, key=lambda one: waiting[one] or 0.0).give_way()
