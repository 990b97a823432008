"""Serve one DICOM association and hand over what it carries, as it comes (PS3.8 9, PS3.7 9.1).

Enters: a TCP (or TLS) connection that `dimse_acceptor` took. Leave: the calls of a `Service`: admit it,
store each instance from an iterator of fragments, perform an N-ACTION or take an N-EVENT-REPORT,
hear of its end. C-ECHO is answered here. What the service has to tell a peer (`Association.reports`)
goes out between two of the peer's messages.

pynetdicom's acceptor is not used: it collects each data set in memory, lets a PDU be as long as its
sender says, makes the TLS handshake in the thread that accepts, polls in two threads per association and
waits for ever on a peer that stops inside a PDU. Here one thread serves one association and reads the
socket only when the service asks for the next fragment: memory is one PDU, and a slow disk slows the
sender down by TCP alone.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import NoReturn, Protocol

from channels.transport import dimse_command
from channels.transport.dimse_command import Command
from channels.transport.dimse_event_report import EventReports
from channels.transport.dimse_negotiation import AssociationRequest, Context, Rejection
from channels.transport.dimse_pdu import (
    INVALID_PARAMETER,
    UNEXPECTED_PDU,
    AssociationLost,
    DataValue,
    PduSocket,
    ProtocolError,
    Released,
)
from channels.transport.pace import Pace

logger = logging.getLogger("pons.dimse")

_VERIFICATION = "1.2.840.10008.1.1"
_MAX_COMMAND = 1 << 16  # bytes of one command set

STATUS_SUCCESS = 0x0000
STATUS_SOP_CLASS_NOT_SUPPORTED = 0x0122
STATUS_UNRECOGNIZED_OPERATION = 0x0211
STATUS_RESOURCE_LIMITATION = 0x0213
STATUS_CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener grants; times in seconds, sizes in bytes."""

    max_pdu: int
    max_associations: int  # it is the service that turns away one too many
    acse_timeout: float  # for the TLS handshake, and for the association request
    network_timeout: float  # of silence between two messages
    dimse_timeout: float  # for each PDU inside a message, to come or to go
    max_drain: int  # of a refused data set that is read on, so that the peer hears why
    min_rate: int = 0  # bytes a second of a message that is under way, over each ``dimse_timeout`` of waiting
    max_information: int = 1 << 24  # of the data set of an N-ACTION or N-EVENT-REPORT, held in memory
    courtesy: float = 0.5  # before we report an event: a peer that hangs up after its answer is let go


@dataclass(frozen=True, slots=True)
class Status:
    """What a request is answered with; ``comment`` becomes Error Comment (0000,0902)."""

    code: int
    comment: str = ""
    then: Callable[[], None] | None = None  # what is to be done once the answer is sent


class Service(Protocol):
    """The user of associations; called from the association's own thread."""

    def admit(self, association: Association) -> Rejection | None:
        """Judge a request by address, AE titles and what is open already; None admits it."""
        ...

    @property
    def normalized(self) -> Collection[str]:
        """SOP classes whose N-ACTION and N-EVENT-REPORT are taken, in either role (PS3.7 D.3.3.4)."""
        ...

    def is_served(self, abstract_syntax: str) -> bool:
        """Whether instances of this SOP class are taken."""
        ...

    def store(
        self, association: Association, context: Context, command: Command, fragments: Iterator[memoryview]
    ) -> Status:
        """Take one instance; each fragment is valid until the next is asked for.

        The AssociationLost that `fragments` raises must pass through.
        """
        ...

    def perform(
        self, association: Association, context_id: int, context: Context, command: Command, data: bytes
    ) -> Status:
        """An N-ACTION-RQ or N-EVENT-REPORT-RQ in a context of a normalized SOP class."""
        ...

    def ended(self, association: Association) -> None:
        """An admitted association is over; called once."""
        ...


class Listener(Protocol):
    """Where an association came in."""

    service: Service
    limits: Limits
    tls: ssl.SSLContext | None
    stopping: bool
    wake: int
    """A descriptor that becomes readable when the listener stops."""

    def admitted(self, association: Association) -> None:
        """The connection has an association from now on."""
        ...

    def dismissed(self, association: Association) -> None:
        """Its association is over; the connection is open until the peer has heard so."""
        ...

    def forget(self, association: Association) -> None:
        """The association's thread is about to end."""
        ...


class Association(threading.Thread):
    """One association, from connection to close, in one thread."""

    def __init__(self, listener: Listener, connection: socket.socket, remote_address: str) -> None:
        super().__init__(name="pons-association", daemon=True)
        self.remote_address = remote_address.removeprefix("::ffff:")  # IPv4 on an IPv6 socket
        self.calling_ae_title = ""
        self.called_ae_title = ""
        self._listener = listener
        self._service = listener.service
        self._limits = listener.limits
        self._pdus = PduSocket(connection, listener.limits.max_pdu, listener.limits.dimse_timeout)
        self._pace = Pace(listener.limits.min_rate, listener.limits.dimse_timeout)
        self.too_slow = False
        """Whether its last message was aborted for its pace."""
        self._cut_off = False
        self._events = select.poll()
        self._contexts: dict[int, Context] = {}
        self._peer_max_pdu = 0
        self.reports = EventReports(self._pdus, listener.limits.courtesy)

    def run(self) -> None:
        """Negotiate, serve, close."""
        try:
            self._live()
        except ProtocolError as error:
            self._log(logging.WARNING, "association aborted", reason=str(error))
            self._pdus.send_last(error.encode())
        except (AssociationLost, OSError) as error:  # OSError: the TLS handshake
            reason = "cut off" if self._cut_off else str(error) or type(error).__name__
            self._log(logging.WARNING, "association lost", reason=reason)
        except Exception as error:
            logger.exception("defect: association aborted")
            self._pdus.send_last(ProtocolError(type(error).__name__).encode())
        finally:
            self._pdus.close()
            self._listener.forget(self)

    def cut(self) -> None:
        """End the connection, from another thread."""
        self._cut_off = True
        self._pdus.cut()

    def _live(self) -> None:
        if self._listener.tls:
            self._pdus.start_tls(self._listener.tls, self._limits.acse_timeout)
        try:
            request = AssociationRequest(self._pdus.read_request(self._limits.acse_timeout))
        except ValueError as error:
            raise ProtocolError(str(error), INVALID_PARAMETER) from None
        self.calling_ae_title, self.called_ae_title = request.calling_ae_title, request.called_ae_title
        self._peer_max_pdu = request.max_pdu
        rejection = request.unacceptable
        if rejection is None:
            rejection = self._serve_admitted(request)
        if rejection is None:
            self._log(logging.INFO, "association released")
            self._pdus.release()
        else:
            self._log(logging.WARNING, "association rejected", reason=rejection.name.lower())
            self._pdus.send_last(rejection.encode())

    def _serve_admitted(self, request: AssociationRequest) -> Rejection | None:
        """Serve until the peer asks to release, unless the service does not want it."""
        rejection = self._service.admit(self)
        if rejection is not None:
            return rejection
        self._listener.admitted(self)
        try:
            self._contexts, answer = request.accept(
                self._is_served, self._limits.max_pdu, self._service.normalized
            )
            self._pdus.send(answer)
            self._log(logging.INFO, "association accepted")
            self._serve()
        except Released:
            return None
        finally:  # before the peer is answered: it may come back at once
            self.reports.end()
            self._service.ended(self)
            self._listener.dismissed(self)

    def _is_served(self, abstract_syntax: str) -> bool:
        return (
            abstract_syntax == _VERIFICATION
            or abstract_syntax in self._service.normalized
            or self._service.is_served(abstract_syntax)
        )

    def _log(self, level: int, event: str, **facts: str) -> None:
        peer = {
            "remote_address": self.remote_address,
            "calling_ae_title": self.calling_ae_title,
            "called_ae_title": self.called_ae_title,
        }
        logger.log(level, event, extra={"pons": {**peer, **facts}})

    # ── messages (PS3.7 6.3, PS3.8 E) ───────────────────────────────────────────────────────────

    def _serve(self) -> NoReturn:
        self._events.register(self._pdus, select.POLLIN)
        self._events.register(self._listener.wake, select.POLLIN)
        while True:
            self._wait()
            context_id, command = self._read_command()
            context = self._contexts.get(context_id)
            if context is None:
                raise ProtocolError("a message in a context that was not accepted", INVALID_PARAMETER)
            if command.field == dimse_command.C_CANCEL_RQ:
                continue
            if command.field & dimse_command.RESPONSE:
                for _ in self.fragments(context_id) if command.has_data_set else ():
                    pass  # an Event Reply (PS3.7 10.1.1.1.8): nothing that we report has one
                self.reports.hear(command)
                continue
            status = self._perform(context_id, context, command)
            response = dimse_command.encode_response(command, status.code, status.comment)
            self._pdus.send_message(context_id, response, self._peer_max_pdu)
            if status.then is not None:
                status.then()

    def _perform(self, context_id: int, context: Context, command: Command) -> Status:
        fragments = self.fragments(context_id) if command.has_data_set else iter(())
        status = self._status(context_id, context, command, fragments)
        drained = 0
        for fragment in fragments:  # a peer that is still sending does not listen yet
            drained += len(fragment)
            if drained > self._limits.max_drain:
                raise ProtocolError("a refused data set without end")
        return status

    def _status(
        self, context_id: int, context: Context, command: Command, fragments: Iterator[memoryview]
    ) -> Status:
        if command.field == dimse_command.C_ECHO_RQ:
            return Status(STATUS_SUCCESS)
        if context.abstract_syntax in self._service.normalized:
            return self._normalized(context_id, context, command, fragments)
        if command.field != dimse_command.C_STORE_RQ:
            return Status(STATUS_UNRECOGNIZED_OPERATION, "only C-STORE and C-ECHO are served here")
        if not command.has_data_set:
            return Status(STATUS_CANNOT_UNDERSTAND, "no data set")
        if command.sop_class_uid != context.abstract_syntax:
            return Status(STATUS_SOP_CLASS_NOT_SUPPORTED, "SOP class is not that of the presentation context")
        return self._service.store(self, context, command, fragments)

    def _normalized(
        self, context_id: int, context: Context, command: Command, fragments: Iterator[memoryview]
    ) -> Status:
        if command.field not in (dimse_command.N_ACTION_RQ, dimse_command.N_EVENT_REPORT_RQ):
            return Status(STATUS_UNRECOGNIZED_OPERATION, "only N-ACTION and N-EVENT-REPORT are served here")
        data = bytearray()
        for fragment in fragments:
            data += fragment
            if len(data) > self._limits.max_information:
                return Status(STATUS_RESOURCE_LIMITATION, "the data set is too long")
        return self._service.perform(self, context_id, context, command, bytes(data))

    def _wait(self) -> None:
        """Be idle until the next message, the end of patience, or the order to stop."""
        ready = self._pdus.has_data
        due_in = self.reports.next_in
        if due_in is not None:
            ready = ready or self._poll(due_in)
            if not self._listener.stopping:
                self.reports.send(self._peer_max_pdu, idle=not ready)
        ready = ready or self._poll(self._limits.network_timeout)
        if self._listener.stopping:
            raise ProtocolError("the listener is stopping")
        if not ready:
            raise ProtocolError(f"silent for {self._limits.network_timeout:g} s between messages")

    def _poll(self, timeout: float) -> bool:
        """Whether there is something to read, or the order to stop; waits ``timeout`` seconds for it."""
        return bool(self._events.poll(timeout * 1000))

    def _read_command(self) -> tuple[int, Command]:
        collected = b""
        while True:
            value = self._read_value(between_messages=not collected)
            if not value.is_command:
                raise ProtocolError("a data set without a command", UNEXPECTED_PDU)
            collected += value.data
            if len(collected) > _MAX_COMMAND:
                raise ProtocolError("a command set without end", INVALID_PARAMETER)
            if value.is_last:
                break
        try:
            return value.context_id, dimse_command.decode(collected)
        except ValueError as error:
            raise ProtocolError(str(error), INVALID_PARAMETER) from None

    def _read_value(self, *, between_messages: bool = False) -> DataValue:
        """The next data value, from a peer that keeps up its pace."""
        if between_messages:
            self._pace.restart()
        began = time.monotonic()
        value = self._pdus.read_value(between_messages=between_messages)
        if self._pace.is_too_slow(time.monotonic() - began, len(value.data)):
            self.too_slow = True
            raise ProtocolError(f"slower than {self._limits.min_rate} bytes a second inside a message")
        return value

    def fragments(self, context_id: int) -> Iterator[memoryview]:
        """The data set of the message under way, piece by piece as the socket gives it."""
        last = False
        while not last:
            value = self._read_value()
            if value.is_command or value.context_id != context_id:
                raise ProtocolError("another message inside a data set", UNEXPECTED_PDU)
            last = value.is_last
            yield value.data
