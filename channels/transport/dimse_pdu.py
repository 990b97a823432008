"""PDUs off and onto the socket of one association, as its acceptor sees them (PS3.8 9.3).

Enter: a connected socket. Leave: the association request, then presentation data values one by
one, each a view into the one buffer that an association owns; what ends an association is raised.

The buffer holds the longest PDU. A read takes what is there up to its end, so that a short message
costs one read whatever PDUs it consists of; the rest of a PDU that has begun is one read more. No read
or write waits longer than the timeout, no PDU takes longer than twice that. The kernel keeps the time
where it can: a timeout of Python's costs a call more for each read.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

_ASSOCIATE_RQ, _P_DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = 1, 4, 5, 6, 7
_MAX_ASSOCIATE_RQ = 1 << 20  # bytes; 128 contexts with a dozen transfer syntaxes each are 100 kB
_SLACK = 64  # bytes by which senders that count the PDU header overrun the maximum
_IS_COMMAND, _IS_LAST = 1, 2  # message control header (PS3.8 E.2)
_HEAD = struct.Struct(">BxI")  # type and length of a PDU (PS3.8 9.3.1)
_VALUE_HEAD = struct.Struct(">IBB")  # length, context id and message control header (PS3.8 9.3.5.1, E.2)
_DATA_HEAD = struct.Struct(">BxIIBB")  # of a PDU with one value
_LARGEST_FRAGMENT = 1 << 17  # bytes, to a peer that sets no limit
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux alone has it
LINGER = 2.0  # seconds for the peer to close first, so that it reads our last PDU (PS3.8 9.2, Sta13)

# PS3.8 table 9-26
UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER, NOT_SPECIFIED = 1, 2, 6, 0


class AssociationLost(Exception):
    """The peer aborted, closed, fell silent or broke the protocol; nothing more will come."""


class ProtocolError(AssociationLost):
    """We end the association; ``reason`` goes into the A-ABORT."""

    def __init__(self, message: str, reason: int = NOT_SPECIFIED) -> None:
        super().__init__(message)
        self.reason = reason

    def encode(self) -> bytes:
        """The A-ABORT PDU, from the service provider."""
        return _HEAD.pack(_ABORT, 4) + bytes((0, 0, 2, self.reason))


class Released(Exception):
    """The peer asks to release the association."""


class DataValue(NamedTuple):
    """One presentation data value (PS3.8 9.3.5.1); ``data`` is valid until the next is read."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class PduSocket:
    """The socket of one association."""

    def __init__(self, connection: socket.socket, max_pdu: int, timeout: float) -> None:
        """
        Args:
            max_pdu: bytes that we announce to take.
            timeout: seconds for each PDU, once the association stands.
        """
        self._socket = connection
        self._max_pdu = max_pdu
        self._timeout = timeout
        self._buffer = memoryview(bytearray(_HEAD.size + max_pdu + _SLACK))
        self._offset = self._pdu_end = 0  # of the data values not yet taken
        self._end = 0  # of what has been read: behind this PDU the next may have begun
        self._is_tls = False
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start_tls(self, context: ssl.SSLContext, timeout: float) -> None:
        """The handshake, in the association's own thread."""
        self._socket.settimeout(timeout)
        wrapped = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket, self._is_tls = wrapped, True
        wrapped.do_handshake()

    def fileno(self) -> int:
        """To poll on."""
        return self._socket.fileno()

    @property
    def has_data(self) -> bool:
        """Whether something has been read already that a poll would not tell."""
        if self._offset < self._end:
            return True
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def read_request(self, timeout: float) -> bytes:
        """The A-ASSOCIATE-RQ PDU."""
        deadline = time.monotonic() + timeout
        head = self._exactly(_HEAD.size, deadline)
        kind, length = _HEAD.unpack(head)
        if kind != _ASSOCIATE_RQ:
            raise ProtocolError("the first PDU is no association request", UNEXPECTED_PDU)
        if not 68 <= length <= _MAX_ASSOCIATE_RQ:
            raise ProtocolError(f"an association request of {length} bytes", INVALID_PARAMETER)
        pdu = head + self._exactly(length, deadline)
        self._keep_time()
        return pdu

    def _exactly(self, count: int, deadline: float) -> bytes:
        """So many bytes of the request, and none of what comes after it."""
        content = memoryview(bytearray(count))
        filled = 0
        while filled < count:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            filled += self._receive(content[filled:])
            self._acknowledge()
        return bytes(content)

    def _keep_time(self) -> None:
        """From now on a read or write that waits for `timeout` seconds fails."""
        if self._is_tls:  # TLS needs several reads for one, which Python's timeout covers together
            self._socket.settimeout(self._timeout)
            return
        self._socket.settimeout(None)
        microseconds = max(1000, int(self._timeout * 1_000_000))
        patience = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, patience)

    def read_value(self, *, between_messages: bool = False) -> DataValue:
        """The next data value; Released only between messages, AssociationLost at any time."""
        while self._offset == self._pdu_end:
            self._read_data_pdu(between_messages)
        start = self._offset + _VALUE_HEAD.size
        if start > self._pdu_end:
            raise ProtocolError("a presentation data value without header", INVALID_PARAMETER)
        length, context_id, control = _VALUE_HEAD.unpack_from(self._buffer, self._offset)
        stop = start + length - 2  # the two are its context id and control header
        if length < 2 or stop > self._pdu_end:
            raise ProtocolError("a presentation data value past the end of its PDU", INVALID_PARAMETER)
        self._offset = stop
        return DataValue(
            context_id, bool(control & _IS_COMMAND), bool(control & _IS_LAST), self._buffer[start:stop]
        )

    def _read_data_pdu(self, between_messages: bool) -> None:
        deadline = time.monotonic() + self._timeout
        if not between_messages and self._offset == self._end:
            self._acknowledge()
        self._have(_HEAD.size, deadline)
        kind, length = _HEAD.unpack_from(self._buffer, self._offset)
        if kind == _ABORT:
            raise AssociationLost("aborted by the peer")
        if kind == _RELEASE_RQ and between_messages:
            raise Released
        if kind != _P_DATA:
            reason = UNEXPECTED_PDU if _ASSOCIATE_RQ <= kind <= _ABORT else UNRECOGNIZED_PDU
            raise ProtocolError(f"a PDU of type {kind} where data should be", reason)
        if length > self._max_pdu + _SLACK:
            raise ProtocolError(f"a PDU of {length} bytes, {self._max_pdu} were agreed", INVALID_PARAMETER)
        self._have(_HEAD.size + length, deadline)
        self._offset += _HEAD.size
        self._pdu_end = self._offset + length

    def _have(self, count: int, deadline: float) -> None:
        """See that so many bytes of the PDU at the offset are in the buffer."""
        have = self._end - self._offset
        if have >= count:
            return
        if not have:
            self._offset = self._end = 0
        elif self._offset + count > len(self._buffer):
            self._buffer[:have] = self._buffer[self._offset : self._end]
            self._offset, self._end = 0, have
        # A head is read with whatever is behind it. The rest of a PDU is awaited in the kernel, however
        # many segments it comes in; to take more than it would move what came too much for the next.
        stop = len(self._buffer) if count == _HEAD.size else self._offset + count
        flags = 0 if count == _HEAD.size else socket.MSG_WAITALL
        while self._end - self._offset < count:
            if self._end:
                self._acknowledge()
            self._end += self._receive(self._buffer[self._end : stop], flags)
            if self._end - self._offset < count and time.monotonic() > deadline:
                raise ProtocolError("too slow inside a PDU")
        self._pdu_end = self._offset

    def _receive(self, view: memoryview, flags: int = 0) -> int:
        """Read into ``view``, a byte at least, or be done with the peer."""
        try:
            # TLS knows no flags, and gives one record at a time.
            count = self._socket.recv_into(view, 0, 0 if self._is_tls else flags)
        except (TimeoutError, BlockingIOError):
            raise ProtocolError("silent inside a PDU or a message") from None
        except OSError as error:
            raise AssociationLost(error.strerror or type(error).__name__) from None
        if not count:
            raise AssociationLost("closed by the peer")
        return count

    def _acknowledge(self) -> None:
        """Have what came acknowledged at once, where more of a message is awaited.

        A sender with Nagle's algorithm on keeps a PDU's body back until its header is acknowledged,
        and the kernel takes its time once we have answered. What we answer acknowledges by itself.
        """
        if _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def send_message(
        self, context_id: int, command_set: bytes, peer_max_pdu: int, data_set: bytes = b""
    ) -> None:
        """A command set and its data set in data values, none longer than the peer takes (0: any length)."""
        step = max(1, peer_max_pdu - 6) if peer_max_pdu else _LARGEST_FRAGMENT
        pdus = [
            *_data_pdus(context_id, command_set, step, _IS_COMMAND),
            *_data_pdus(context_id, data_set, step, 0),
        ]
        self.send(b"".join(pdus))

    def send(self, pdu: bytes) -> None:
        """One PDU or several."""
        deadline = time.monotonic() + self._timeout
        rest = memoryview(pdu)
        try:
            while rest:
                rest = rest[self._socket.send(rest) :]
                if rest and time.monotonic() > deadline:
                    raise TimeoutError
        except (TimeoutError, BlockingIOError):
            raise AssociationLost("the peer does not read") from None
        except OSError as error:
            raise AssociationLost(error.strerror or type(error).__name__) from None

    def send_last(self, pdu: bytes) -> None:
        """Send, then let the peer close: closing over unread bytes would reset what we just sent."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(LINGER)
            self._socket.sendall(pdu)
            # The plain socket's methods, also under TLS: only the end of the stream matters now.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            deadline = time.monotonic() + LINGER
            while socket.socket.recv(self._socket, 1 << 16) and time.monotonic() < deadline:
                pass

    def release(self) -> None:
        """Answer the request to release."""
        self.send_last(_HEAD.pack(_RELEASE_RP, 4) + bytes(4))

    def cut(self) -> None:
        """End the connection, from another thread, under the feet of the one that reads."""
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown: that one takes the TLS state away from the reading thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def _data_pdus(context_id: int, content: bytes, step: int, kind: int) -> Iterator[bytes]:
    for start in range(0, len(content), step):
        value = content[start : start + step]
        control = kind | (_IS_LAST if start + step >= len(content) else 0)
        head = _DATA_HEAD.pack(_P_DATA, len(value) + 6, len(value) + 2, context_id, control)
        yield head + value
