"""Accept DICOM associations and hand over what they carry, as it comes (PS3.8 9, PS3.7 9.1).

Enter: TCP (or TLS) connections. Leave: for each association the calls of a `Service`: admit it,
store each instance from an iterator of fragments, hear of its end. C-ECHO is answered here.

The PDUs of the association control are encoded and decoded by pynetdicom. Its acceptor itself is
not used: it collects each data set in memory, lets a PDU be as long as its sender says, makes the
TLS handshake in the thread that accepts, polls in two threads per association and waits for ever
on a peer that stops inside a PDU. Here one thread serves one association and reads the socket
only when the service asks for the next fragment: memory is one PDU, and a slow disk slows the
sender down by TCP alone. `Association.fragments` is the seam for whatever reads faster.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pydicom.uid import UID
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from channels.transport import dimse_command
from channels.transport.dimse_command import Command
from channels.transport.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

logger = logging.getLogger("pons.dimse")

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_VERIFICATION = "1.2.840.10008.1.1"

_ASSOCIATE_RQ, _P_DATA, _RELEASE_RQ, _ABORT = 1, 4, 5, 7
_MAX_ASSOCIATE_RQ = 1 << 20  # bytes; 128 contexts with a dozen transfer syntaxes each are 100 kB
_MAX_COMMAND = 1 << 16  # bytes of one command set
_SLACK = 64  # bytes by which senders that count the PDU header overrun the maximum
_LINGER = 2.0  # seconds for the peer to close first, so that it reads our last PDU (PS3.8 9.2, Sta13)
_WAITING = 64  # connections that may still be negotiating beyond the associations allowed

STATUS_SUCCESS = 0x0000
STATUS_SOP_CLASS_NOT_SUPPORTED = 0x0122
STATUS_UNRECOGNIZED_OPERATION = 0x0211
STATUS_CANNOT_UNDERSTAND = 0xC000


class Rejection(Enum):
    """Why an association is refused: result, source, reason (PS3.8 table 9-21)."""

    NO_REASON = (1, 1, 1)
    APPLICATION_CONTEXT = (1, 1, 2)
    CALLING_AE_TITLE = (1, 1, 3)
    CALLED_AE_TITLE = (1, 1, 7)
    PROTOCOL_VERSION = (1, 2, 2)
    LOCAL_LIMIT = (2, 3, 2)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener grants; times in seconds, sizes in bytes."""

    max_pdu: int
    max_associations: int
    acse_timeout: float  # for the handshake and the association request
    network_timeout: float  # of silence between two messages
    dimse_timeout: float  # for each PDU inside a message, to come or to go
    max_drain: int  # of a refused data set that is read on, so that the peer hears why


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Status:
    """What a C-STORE is answered with; ``comment`` becomes Error Comment (0000,0902)."""

    code: int
    comment: str = ""


class Service(Protocol):
    """The user of associations; called from the association's own thread."""

    def admit(self, association: Association) -> Rejection | None:
        """Judge a request by address and AE titles; None admits it."""
        ...

    def is_served(self, abstract_syntax: str) -> bool:
        """Whether instances of this SOP class are taken."""
        ...

    def store(
        self, association: Association, context: Context, command: Command, fragments: Iterator[memoryview]
    ) -> Status:
        """Take one instance; each fragment is valid until the next is asked for.

        What `fragments` raises (the peer is gone) must pass through.
        """
        ...

    def ended(self, association: Association) -> None:
        """An admitted association is over; called once."""
        ...


class AssociationLost(Exception):
    """The peer aborted, closed, fell silent or broke the protocol; nothing more will come."""


class _ProtocolError(AssociationLost):
    """The peer broke the protocol; ``reason`` goes into the A-ABORT (PS3.8 table 9-26)."""

    def __init__(self, message: str, reason: int) -> None:
        super().__init__(message)
        self.reason = reason


_UNEXPECTED_PDU, _INVALID_PARAMETER, _NOT_SPECIFIED = 2, 6, 0


class _Released(Exception):
    """The peer asks to release the association."""


class Acceptor:
    """One listening socket and its associations."""

    def __init__(
        self, host: str, port: int, service: Service, limits: Limits, tls: ssl.SSLContext | None = None
    ) -> None:
        self.service = service
        self.limits = limits
        self.tls = tls
        self._host, self._port = host, port
        self._lock = threading.Lock()
        self._open: set[Association] = set()
        self._admitted = 0
        self.stopping = False

    def start(self) -> tuple[str, int]:
        """Bind and accept; returns address and port. OSError when the address cannot be bound."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._socket = socket.create_server((self._host, self._port), family=family, backlog=128)
        # Closing the write end wakes every poll on the read end: this is how the threads are told.
        self.wake, self._stop_signal = os.pipe()
        self._thread = threading.Thread(target=self._accept, name="pons-dimse-accept", daemon=True)
        self._thread.start()
        host, port = self._socket.getsockname()[:2]
        return host, port

    def stop(self, grace: float) -> None:
        """No new associations; idle ones are aborted, a C-STORE under way has ``grace`` seconds."""
        self.stopping = True
        os.close(self._stop_signal)
        self._thread.join()
        self._socket.close()
        deadline = time.monotonic() + grace
        for association in self._snapshot():
            association.join(max(0.0, deadline - time.monotonic()))
        for association in self._snapshot():
            association.cut()
        for association in self._snapshot():
            association.join(_LINGER)
        os.close(self.wake)

    def _snapshot(self) -> list[Association]:
        with self._lock:
            return list(self._open)

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while True:
            poll.poll()
            if self.stopping:
                return
            try:
                connection, address = self._socket.accept()
            except OSError as error:  # the peer is gone again, or descriptors ran out: not the end of us
                logger.warning("connection not accepted", extra={"pons": {"reason": str(error)}})
                time.sleep(0.05)
                continue
            with self._lock:
                full = len(self._open) >= self.limits.max_associations + _WAITING
                if not full:
                    association = Association(self, connection, address[0])
                    self._open.add(association)
            if full:
                connection.close()
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


class Association(threading.Thread):
    """One association, from connection to close, in one thread."""

    def __init__(self, acceptor: Acceptor, connection: socket.socket, remote_address: str) -> None:
        super().__init__(name="pons-association", daemon=True)
        self.remote_address = remote_address.removeprefix("::ffff:")  # IPv4 on an IPv6 socket
        self.calling_ae_title = ""
        self.called_ae_title = ""
        self.contexts: dict[int, Context] = {}
        self._acceptor = acceptor
        self._service = acceptor.service
        self._limits = acceptor.limits
        self._socket = connection
        self._peer_max_pdu = 0
        self._buffer = memoryview(bytearray(acceptor.limits.max_pdu + _SLACK))
        self._offset = self._end = 0  # of the presentation data values not yet taken

    # ── life ────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Negotiate, serve, close."""
        try:
            self._live()
        except _ProtocolError as error:
            self._log("association aborted", reason=str(error))
            self._send_last(_abort(source=2, reason=error.reason))
        except (AssociationLost, OSError) as error:
            self._log("association lost", reason=str(error) or type(error).__name__)
        except Exception as error:
            self._log("defect: association aborted", reason=type(error).__name__, level=logging.ERROR)
            self._send_last(_abort(source=2, reason=_NOT_SPECIFIED))
        finally:
            self._socket.close()
            self._acceptor.forget(self)

    def cut(self) -> None:
        """End the connection under the feet of this association's thread."""
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown: that one takes the TLS state away from the reading thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _live(self) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._acceptor.tls:
            self._socket.settimeout(self._limits.acse_timeout)
            self._socket = self._acceptor.tls.wrap_socket(
                self._socket, server_side=True, do_handshake_on_connect=False
            )
            self._socket.do_handshake()
        request = self._read_request()
        rejection = self._judge(request)
        if rejection is None and not self._acceptor.admitted():
            rejection = Rejection.LOCAL_LIMIT
        if rejection is not None:
            self._log("association rejected", reason=rejection.name.lower())
            self._send_last(_reject(rejection))
            return
        try:
            self._send(self._accept(request))
            self._log("association accepted", level=logging.INFO)
            self._serve()
        except _Released:
            self._log("association released", level=logging.INFO)
            self._send_last(A_RELEASE_RP().encode())
        finally:
            self._acceptor.dismissed()
            self._service.ended(self)

    def _log(self, event: str, level: int = logging.WARNING, **facts: str) -> None:
        peer = {
            "remote_address": self.remote_address,
            "calling_ae_title": self.calling_ae_title,
            "called_ae_title": self.called_ae_title,
        }
        logger.log(level, event, extra={"pons": {**peer, **facts}})

    # ── association control (PS3.8 9.3) ─────────────────────────────────────────────────────────

    def _read_request(self) -> A_ASSOCIATE_RQ:
        deadline = time.monotonic() + self._limits.acse_timeout
        head = self._receive(memoryview(bytearray(6)), deadline)
        kind, length = struct.unpack(">BxI", head)
        if kind != _ASSOCIATE_RQ:
            raise _ProtocolError("the first PDU is no association request", _UNEXPECTED_PDU)
        if not 68 <= length <= _MAX_ASSOCIATE_RQ:
            raise _ProtocolError(f"an association request of {length} bytes", _INVALID_PARAMETER)
        body = bytes(self._receive(memoryview(bytearray(length)), deadline))
        if not body[4:36].isascii():
            raise _ProtocolError("an AE title that is not ASCII", _INVALID_PARAMETER)
        request = A_ASSOCIATE_RQ()
        try:
            request.decode(bytes(head) + body)
        except Exception as error:  # pynetdicom raises what its parsing stumbles over
            raise _ProtocolError("a malformed association request", _INVALID_PARAMETER) from error
        self.calling_ae_title = request.calling_ae_title.strip()
        self.called_ae_title = request.called_ae_title.strip()
        return request

    def _judge(self, request: A_ASSOCIATE_RQ) -> Rejection | None:
        if not request.protocol_version & 1:
            return Rejection.PROTOCOL_VERSION
        if request.application_context_name != _APPLICATION_CONTEXT:
            return Rejection.APPLICATION_CONTEXT
        return self._service.admit(self)

    def _accept(self, request: A_ASSOCIATE_RQ) -> bytes:
        """The A-ASSOCIATE-AC: every storage context as proposed, the sender's first syntax first."""
        answer = A_ASSOCIATE()
        answer.application_context_name = UID(_APPLICATION_CONTEXT)
        answer.calling_ae_title = request.calling_ae_title
        answer.called_ae_title = request.called_ae_title
        answer.result = 0
        answer.result_source = 1
        results = [self._negotiate(item.to_primitive()) for item in request.presentation_context]
        answer.presentation_context_definition_results_list = results
        length = MaximumLengthNotification()
        length.maximum_length_received = self._limits.max_pdu
        implementation = ImplementationClassUIDNotification()
        implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        version = ImplementationVersionNameNotification()
        version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        answer.user_information = [length, implementation, version]
        proposed = request.user_information
        if proposed is not None:
            self._peer_max_pdu = proposed.maximum_length or 0
            accepted = {context.abstract_syntax for context in self.contexts.values()}
            for uid in proposed.role_selection:
                if uid in accepted:  # the peer is SCU here, whatever else it could be (PS3.7 D.3.3.4)
                    role = SCP_SCU_RoleSelectionNegotiation()
                    role.sop_class_uid, role.scu_role, role.scp_role = uid, True, False
                    answer.user_information.append(role)
        return A_ASSOCIATE_AC(answer).encode()

    def _negotiate(self, proposed: PresentationContext) -> PresentationContext:
        result = PresentationContext()
        assert proposed.context_id is not None
        result.context_id = proposed.context_id
        abstract_syntax = str(proposed.abstract_syntax or "")
        syntaxes = proposed.transfer_syntax
        result.transfer_syntax = list(syntaxes[:1]) or [UID("1.2.840.10008.1.2")]
        if not syntaxes:
            result.result = 4  # transfer syntaxes not supported (PS3.8 table 9-18)
        elif abstract_syntax == _VERIFICATION or self._service.is_served(abstract_syntax):
            result.result = 0
            self.contexts[proposed.context_id] = Context(abstract_syntax, str(syntaxes[0]))
        else:
            result.result = 3  # abstract syntax not supported
        return result

    # ── messages (PS3.7 6.3, PS3.8 E) ───────────────────────────────────────────────────────────

    def _serve(self) -> None:
        while True:
            self._wait()
            context_id, command = self._command()
            context = self.contexts.get(context_id)
            if context is None:
                raise _ProtocolError(
                    f"a message in presentation context {context_id}, which was not accepted",
                    _INVALID_PARAMETER,
                )
            if command.field == dimse_command.C_CANCEL_RQ or command.field & dimse_command.RESPONSE:
                continue
            status = self._perform(context_id, context, command)
            response = dimse_command.encode_response(command, status.code, status.comment)
            self._send(*_data_values(context_id, response, self._peer_max_pdu))

    def _perform(self, context_id: int, context: Context, command: Command) -> Status:
        fragments = self.fragments(context_id) if command.has_data_set else iter(())
        status = Status(STATUS_SUCCESS)
        if command.field == dimse_command.C_STORE_RQ:
            if not command.has_data_set:
                return Status(STATUS_CANNOT_UNDERSTAND, "no data set")
            if command.sop_class_uid != context.abstract_syntax:
                status = Status(
                    STATUS_SOP_CLASS_NOT_SUPPORTED, "SOP class is not that of the presentation context"
                )
            else:
                status = self._service.store(self, context, command, fragments)
        elif command.field != dimse_command.C_ECHO_RQ:
            status = Status(STATUS_UNRECOGNIZED_OPERATION, "only C-STORE and C-ECHO are served here")
        drained = 0
        for fragment in fragments:  # a peer that is still sending does not listen yet
            drained += len(fragment)
            if drained > self._limits.max_drain:
                raise _ProtocolError("a refused data set without end", _NOT_SPECIFIED)
        return status

    def _wait(self) -> None:
        """Be idle until the next message, the end of patience, or the order to stop."""
        if self._offset < self._end or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            ready = True
        else:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            poll.register(self._acceptor.wake, select.POLLIN)
            ready = bool(poll.poll(self._limits.network_timeout * 1000))
        if self._acceptor.stopping:
            raise _ProtocolError("the listener is stopping", _NOT_SPECIFIED)
        if not ready:
            raise _ProtocolError(
                f"silent for {self._limits.network_timeout:g} s between messages", _NOT_SPECIFIED
            )

    def _command(self) -> tuple[int, Command]:
        collected = b""
        while True:
            context_id, control, value = self._data_value(between_messages=not collected)
            if not control & 1:
                raise _ProtocolError("a data set without a command", _UNEXPECTED_PDU)
            collected += value
            if len(collected) > _MAX_COMMAND:
                raise _ProtocolError("a command set without end", _INVALID_PARAMETER)
            if control & 2:
                break
        try:
            return context_id, dimse_command.decode(collected)
        except ValueError as error:
            raise _ProtocolError(str(error), _INVALID_PARAMETER) from None

    def fragments(self, context_id: int) -> Iterator[memoryview]:
        """The data set of the message under way, piece by piece as the socket gives it."""
        last = False
        while not last:
            found_id, control, value = self._data_value()
            if control & 1 or found_id != context_id:
                raise _ProtocolError("another message inside a data set", _UNEXPECTED_PDU)
            last = bool(control & 2)
            yield value

    def _data_value(self, between_messages: bool = False) -> tuple[int, int, memoryview]:
        """The next presentation data value: context, control header, bytes (PS3.8 9.3.5.1)."""
        while self._offset == self._end:
            self._read_data_pdu(between_messages)
        if self._end - self._offset < 6:
            raise _ProtocolError("a presentation data value without header", _INVALID_PARAMETER)
        length, context_id, control = struct.unpack_from(">IBB", self._buffer, self._offset)
        start, stop = self._offset + 6, self._offset + 4 + length
        if length < 2 or stop > self._end:
            raise _ProtocolError("a presentation data value past the end of its PDU", _INVALID_PARAMETER)
        self._offset = stop
        return context_id, control, self._buffer[start:stop]

    def _read_data_pdu(self, between_messages: bool) -> None:
        deadline = time.monotonic() + self._limits.dimse_timeout
        kind, length = struct.unpack(">BxI", self._receive(self._buffer[:6], deadline))
        if kind == _ABORT:
            raise AssociationLost("aborted by the peer")
        if kind == _RELEASE_RQ and between_messages:
            raise _Released
        if kind != _P_DATA:
            raise _ProtocolError(f"a PDU of type {kind} where data should be", _UNEXPECTED_PDU)
        if length > len(self._buffer):
            raise _ProtocolError(
                f"a PDU of {length} bytes, {self._limits.max_pdu} were agreed", _INVALID_PARAMETER
            )
        self._receive(self._buffer[:length], deadline)
        self._offset, self._end = 0, length

    # ── socket ──────────────────────────────────────────────────────────────────────────────────

    def _receive(self, view: memoryview, deadline: float) -> memoryview:
        """Fill ``view``, or be done with the peer."""
        filled = 0
        while filled < len(view):
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                count = self._socket.recv_into(view[filled:])
            except TimeoutError:
                raise _ProtocolError("silent inside a PDU or a message", _NOT_SPECIFIED) from None
            except OSError as error:
                raise AssociationLost(error.strerror or type(error).__name__) from None
            if not count:
                raise AssociationLost("closed by the peer")
            filled += count
        return view

    def _send(self, *pdus: bytes) -> None:
        self._socket.settimeout(self._limits.dimse_timeout)
        self._socket.sendall(b"".join(pdus))

    def _send_last(self, pdu: bytes) -> None:
        """Send, then let the peer close: closing over unread bytes would reset what we just sent."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_LINGER)
            self._socket.sendall(pdu)
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            deadline = time.monotonic() + _LINGER
            while socket.socket.recv(self._socket, 1 << 16) and time.monotonic() < deadline:
                pass


def _reject(rejection: Rejection) -> bytes:
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = rejection.value
    return pdu.encode()


def _abort(source: int, reason: int) -> bytes:
    pdu = A_ABORT_RQ()
    pdu.source, pdu.reason_diagnostic = source, reason
    return pdu.encode()


def _data_values(context_id: int, command_set: bytes, max_pdu: int) -> Iterator[bytes]:
    """P-DATA-TF PDUs for a command set, none longer than the peer takes (0: any length)."""
    step = max(1, max_pdu - 6) if max_pdu else len(command_set)
    for start in range(0, len(command_set), step):
        value = command_set[start : start + step]
        control = 3 if start + step >= len(command_set) else 1
        head = struct.pack(">BxIIBB", _P_DATA, len(value) + 6, len(value) + 2, context_id, control)
        yield head + value
