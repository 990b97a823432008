"""One DICOM association as its requestor, on asyncio: TCP or TLS, then PDUs (PS3.8 9.3, 9.1).

Enter: a peer and the presentation contexts wanted of it. Leave: an `Association` that sends one
message and receives one at a time, is released in order and aborted on any error or cancellation.

The association PDUs are those of `association_request`. The wire is not pynetdicom's: its association
thread polls, queues a whole object in memory while it sends, reads a PDU of whatever length is
announced, and cannot be cancelled while it waits for a silent peer.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass

from channels.transport.association_request import (
    MAX_CONTEXTS,
    decode_accept,
    decode_rejection,
    encode_request,
)
from channels.transport.command_set import decode, has_data_set
from engine.channel import Tls
from engine.errors import Refused, TryAgain

__all__ = ["MAX_CONTEXTS", "Association", "Message", "Peer", "associate"]

_LONGEST_PDU = 1 << 20  # what we read at most, whatever is announced
_LONGEST_COMMAND = 1 << 16
_LARGEST_FRAGMENT = 128 * 1024  # when the peer sets no limit
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux alone has it
_RELEASE_TIMEOUT = 2.0  # seconds; by then everything is acknowledged already

_A_ASSOCIATE_AC, _A_ASSOCIATE_RJ, _P_DATA, _A_RELEASE_RQ, _A_RELEASE_RP, _A_ABORT = 2, 3, 4, 5, 6, 7
_RELEASE_REQUEST = struct.pack(">BBLL", _A_RELEASE_RQ, 0, 4, 0)
_RELEASE_RESPONSE = struct.pack(">BBLL", _A_RELEASE_RP, 0, 4, 0)
_ABORT_BY_USER = struct.pack(">BBLBBBB", _A_ABORT, 0, 4, 0, 0, 0, 0)

_LAST, _COMMAND = 0x02, 0x01  # message control header (PS3.8 E.2)


@dataclass(frozen=True, slots=True)
class Peer:
    """An application entity to call."""

    host: str
    port: int
    ae_title: str
    calling_ae_title: str
    tls: Tls | None = None
    timeout: float = 30.0  # seconds for each answer; kept by the caller of `associate`

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Message:
    """What a peer sent: a command set and, where one follows it, its data set."""

    context_id: int
    command: bytes
    data_set: bytes = b""


@asynccontextmanager
async def associate(
    peer: Peer, contexts: Sequence[tuple[str, str]], *, roles: Collection[str] = (), window: int = 1
) -> AsyncIterator[Association]:
    """Hold an association; released when the block ends well, aborted otherwise.

    Args:
        contexts: abstract syntax and transfer syntax of each presentation context, at most 128.
        roles: the SOP classes of which we want to be the provider here (PS3.7 D.3.3.4); a context
            whose peer expressly denies us that role is not among the accepted ones.
        window: requests that we would have under way at once (PS3.7 D.3.3.3); what the peer allows
            is the association's.

    Raises:
        TryAgain: no connection, lost connection, protocol error, abort, transient rejection.
        Refused: permanent rejection.
    """
    with _lost(peer):
        reader, writer = await _connect(peer)
    association = Association(peer, reader, writer)
    try:
        await association.negotiate(contexts, roles, window)
        yield association
        await association.release()
    finally:
        association.close()


async def _connect(peer: Peer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if peer.tls is None:
        reader, writer = await asyncio.open_connection(peer.host, peer.port)
    else:
        try:
            context = await asyncio.to_thread(peer.tls.client_context)
        except LookupError as error:
            raise TryAgain(f"TLS towards {peer}: {error}", code="tls") from error
        reader, writer = await asyncio.open_connection(
            peer.host, peer.port, ssl=context, server_hostname=peer.host
        )
    # asyncio sets it as well, but not by promise; without it small stores wait for delayed ACKs.
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if peer.tls is None:  # `drain` then returns when all has left, and not when most has
        writer.transport.set_write_buffer_limits(high=0)
    return reader, writer


class Association:
    """An open connection to a peer; owned by one task."""

    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._socket: socket.socket = writer.get_extra_info("socket")
        self.fragment = 0  # longest that the peer takes
        self.window = 1  # requests that may be under way at once
        self._over = False  # released, or ended by the peer: an abort has no addressee
        self.accepted: Mapping[tuple[str, str], int] = {}  # (abstract, transfer syntax) -> context id

    async def negotiate(
        self, contexts: Sequence[tuple[str, str]], roles: Collection[str], window: int
    ) -> None:
        """A-ASSOCIATE-RQ and its answer; fills ``accepted``."""
        peer = self._peer
        with _lost(peer):
            self._writer.write(
                encode_request(peer.calling_ae_title, peer.ae_title, tuple(contexts), tuple(roles), window)
            )
            await self._writer.drain()
            kind, body = await self._read_pdu()
        try:
            if kind == _A_ASSOCIATE_RJ:
                self._over = True
                raise self._rejected(body)
            if kind != _A_ASSOCIATE_AC:
                raise self._protocol_error(f"PDU type {kind} instead of an answer to A-ASSOCIATE-RQ")
            agreed = decode_accept(body, window)
        except ValueError as error:
            raise self._protocol_error(str(error)) from error
        # 0 means no limit; a limit shorter than a fragment's own header allows no message at all.
        if 0 < agreed.longest < 8:
            raise self._protocol_error(f"a maximum length of {agreed.longest} bytes")
        self.fragment = min(agreed.longest or _LARGEST_FRAGMENT, _LARGEST_FRAGMENT) - 6
        self.window = agreed.window
        self.accepted = {
            wanted: number
            for number, wanted in zip(range(1, 256, 2), contexts, strict=False)
            if agreed.transfer_syntaxes.get(number) == wanted[1]
            and not (wanted[0] in roles and wanted[0] in agreed.denied)
        }

    async def write(self, pdus: bytes | bytearray | memoryview) -> None:
        """Send PDUs as they are; on return they are the kernel's, and their buffer is free."""
        with _lost(self._peer):
            # TLS may keep what it cannot encrypt yet, whatever `drain` says.
            self._writer.write(pdus if self._peer.tls is None else bytes(pdus))
            await self._writer.drain()

    async def send(
        self, context_id: int, command: bytes, data: AsyncGenerator[bytes, None] | None = None
    ) -> None:
        """Send a command set and, when there is one, its data set, in fragments (PS3.8 E.1)."""
        with _lost(self._peer):
            self._writer.writelines(self._data_pdus(context_id, command, _COMMAND, last=True))
            if data is not None:
                async with aclosing(data):
                    await self._send_data(context_id, data)
            await self._writer.drain()

    async def _send_data(self, context_id: int, data: AsyncGenerator[bytes, None]) -> None:
        rest = b""  # the last fragment must say so, thus something is always held back
        async for chunk in data:
            whole = rest + chunk
            sendable = (len(whole) - 1) // self.fragment * self.fragment
            self._writer.writelines(self._data_pdus(context_id, whole[:sendable], 0, last=False))
            rest = whole[sendable:]
            await self._writer.drain()
        self._writer.writelines(self._data_pdus(context_id, rest, 0, last=True))

    def _data_pdus(self, context_id: int, data: bytes, control: int, *, last: bool) -> Iterator[bytes]:
        view = memoryview(data)
        for offset in range(0, len(data), self.fragment):
            fragment = view[offset : offset + self.fragment]
            ends = last and offset + len(fragment) == len(data)
            length = len(fragment) + 2
            yield struct.pack(
                ">BBLLBB", _P_DATA, 0, length + 4, length, context_id, control | (_LAST if ends else 0)
            )
            yield bytes(fragment)

    async def receive(self) -> bytes:
        """The command set of the next message; a data set that follows it is not expected here."""
        return (await self.receive_message(0)).command

    async def receive_message(self, longest_data_set: int) -> Message:
        """The next message of the peer: a response, or a request of its own.

        Args:
            longest_data_set: bytes; 0 where no data set may come.
        """
        parts = {_COMMAND: bytearray(), 0: bytearray()}
        limits = {_COMMAND: _LONGEST_COMMAND, 0: longest_data_set}
        due = _COMMAND
        with _lost(self._peer):
            while True:
                kind, body = await self._read_pdu()
                if kind == _A_RELEASE_RQ:
                    self._over = True
                    self._writer.write(_RELEASE_RESPONSE)
                    raise TryAgain(
                        f"{self._peer} released the association before it answered", code="released"
                    )
                if kind != _P_DATA:
                    raise self._protocol_error(f"PDU type {kind} instead of a response")
                for context_id, control, value in self._data_values(body):
                    if control & _COMMAND != due:
                        raise self._protocol_error("a data set where only a response was due")
                    parts[due] += value
                    if len(parts[due]) > limits[due]:
                        raise self._protocol_error(f"a message of more than {limits[due]} bytes")
                    if control & _LAST:
                        command = bytes(parts[_COMMAND])
                        if due == 0 or not longest_data_set or not has_data_set(decode(command)):
                            return Message(context_id, command, bytes(parts[0]))
                        due = 0

    async def release(self) -> None:
        """A-RELEASE; whatever comes of it changes nothing about what was acknowledged before."""
        try:
            async with asyncio.timeout(_RELEASE_TIMEOUT):
                self._writer.write(_RELEASE_REQUEST)
                await self._writer.drain()
                kind, _ = await self._read_pdu()
                self._over = kind == _A_RELEASE_RP
        except (OSError, EOFError, TryAgain):  # TimeoutError is an OSError
            return

    def close(self) -> None:
        """Close at once; a peer that still listens is told by A-ABORT unless all is over."""
        transport = self._writer.transport
        if not self._over and not transport.is_closing() and transport.get_write_buffer_size() == 0:
            self._writer.write(_ABORT_BY_USER)
        if transport.get_write_buffer_size():
            transport.abort()  # the peer does not read: waiting for it would keep the socket for ever
        else:
            self._writer.close()

    async def _read_pdu(self) -> tuple[int, bytes]:
        # A peer with Nagle's algorithm on holds back the second half of its answer until we have
        # acknowledged the first. The kernel forgets this setting whenever it sends, which it may still do.
        self._acknowledge_at_once()
        kind, _, length = struct.unpack(">BBL", await self._reader.readexactly(6))
        self._acknowledge_at_once()
        if not _A_ASSOCIATE_AC <= kind <= _A_ABORT or length > _LONGEST_PDU:
            raise self._protocol_error("what is no PDU")
        body = await self._reader.readexactly(length)
        if kind == _A_ABORT:
            self._over = True
            raise TryAgain(f"{self._peer} aborted the association", code="aborted")
        return kind, body

    def _acknowledge_at_once(self) -> None:
        if _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _data_values(self, body: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Context id, message control header and fragment of each value (PS3.8 9.3.5.1)."""
        offset = 0
        while offset < len(body):
            if offset + 6 > len(body):
                raise self._protocol_error("a malformed P-DATA-TF PDU")
            length, context_id, control = struct.unpack_from(">LBB", body, offset)
            end = offset + 4 + length
            if length < 2 or end > len(body):
                raise self._protocol_error("a malformed P-DATA-TF PDU")
            yield context_id, control, body[offset + 6 : end]
            offset = end

    def _rejected(self, body: bytes) -> Exception:
        said = decode_rejection(body)
        if not said.is_permanent:
            return TryAgain(f"{self._peer} rejects associations for now: {said.why}", code=said.code)
        return Refused(
            f"{self._peer} rejects the association from {self._peer.calling_ae_title}: {said.why};"
            " check both AE titles here and there",
            code=said.code,
        )

    def _protocol_error(self, what: str) -> TryAgain:
        return TryAgain(f"{self._peer} sent {what}", code="protocol")


@contextmanager
def _lost(peer: Peer) -> Iterator[None]:
    """Whatever goes wrong with the connection leaves the outcome unknown: try again."""
    try:
        yield
    except TimeoutError:
        raise  # the attempt's own clock, or the system's: told apart by nobody, handled by the caller
    except LookupError as error:
        raise TryAgain(f"TLS towards {peer}: {error}", code="tls") from error
    except ssl.SSLError as error:
        raise TryAgain(
            f"TLS towards {peer} failed: {error.reason or 'unknown reason'}", code="tls"
        ) from error
    except (EOFError, ConnectionResetError, BrokenPipeError) as error:
        raise TryAgain(f"{peer} closed the connection before it answered", code="closed") from error
    except OSError as error:
        raise TryAgain(f"no connection to {peer}: {_cause_of(error)}", code="connection") from error


def _cause_of(error: OSError) -> str:
    """The system's words for an error; asyncio's own repeat the address."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return error.strerror or str(error)
