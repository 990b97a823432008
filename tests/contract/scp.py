"""A storage SCP on pynetdicom that answers as it is told, and an acceptor that speaks bare PDUs."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from ssl import SSLContext

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation
from pynetdicom.transport import ThreadedAssociationServer

VERIFICATION = "1.2.840.10008.1.1"
STORAGE = (
    "1.2.840.10008.5.1.4.1.1.4",  # MR Image
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image
    "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
    "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection Document
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
)
HELD = 0x0110  # noted for what was received and never answered
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass(frozen=True)
class Stored:
    """One C-STORE request and how it was answered."""

    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes
    status: int


class Scp:
    """Keeps every data set as it came off the wire.

    ``answers`` are the statuses of the first requests, in order; after them 0000. ``script`` says
    how each association is treated, in order; after it *take*. *busy* and *refuse* answer A700 and
    C000, *stall* never answers, *close* drops the connection instead of answering.
    """

    def __init__(
        self,
        answers: Sequence[int] = (),
        *,
        sop_classes: Sequence[str] = STORAGE,
        transfer_syntaxes: Sequence[str] = UNCOMPRESSED,
        script: Sequence[str] = (),
        abort_at: int | None = None,
        require_called: bool = False,
        tls: SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.answers = list(answers)
        self.requests: list[Stored] = []
        self.associations = 0
        self.aborted = threading.Event()
        self.echoes = 0
        self._abort_at = abort_at
        self._go = threading.Event()
        self.holding = threading.Event()
        self._script = list(script)
        self._treatment: dict[int, str] = {}
        self._sockets: list[socket.socket] = []
        entity = AE("PEER")
        entity.require_called_aet = require_called
        entity.add_supported_context(VERIFICATION)
        for sop_class in sop_classes:
            entity.add_supported_context(sop_class, [UID(syntax) for syntax in transfer_syntaxes])
        self._server = entity.make_server(
            ("127.0.0.1", port),
            server_class=ThreadedAssociationServer,
            ssl_context=tls,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, self._opened),
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_C_ECHO, self._echo),
                (evt.EVT_ABORTED, lambda _: self.aborted.set()),
            ],
        )
        entity._servers.append(self._server)  # where its shutdown looks for itself
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def stored(self) -> list[Stored]:
        """The requests that were answered with success or a warning."""
        return [each for each in list(self.requests) if each.status == 0 or each.status >> 12 == 0xB]

    def let_go(self) -> None:
        self._go.set()

    def stop(self) -> None:
        self._go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        for connection in self._sockets:
            connection.close()  # pynetdicom leaves the socket of an association it aborted to the collector

    def _opened(self, event: evt.Event) -> None:
        self.associations += 1
        self._sockets.append(event.assoc.dul.socket.socket)
        self._treatment[id(event.assoc)] = self._script.pop(0) if self._script else "take"

    def _echo(self, event: evt.Event) -> int:
        self.echoes += 1
        return 0

    def _store(self, event: evt.Event) -> int:
        if self._abort_at == len(self.requests):
            self._abort_at = None
            event.assoc.abort()
            return 0
        status = self.answers.pop(0) if self.answers else 0
        match self._treatment[id(event.assoc)]:
            case "stall":
                self.holding.set()
                status = HELD
            case "close":
                status = HELD
            case "busy":
                status = 0xA700
            case "refuse":
                status = 0xC000
        self.requests.append(
            Stored(
                str(event.request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                event.request.DataSet.getvalue(),
                status,
            )
        )
        match self._treatment[id(event.assoc)]:
            case "stall":
                self._go.wait(30)
            case "close":
                event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        return status


@contextmanager
def serving(scp: Scp) -> Iterator[Scp]:
    """Stop it, whatever happens."""
    try:
        yield scp
    finally:
        scp.stop()


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def bare_server(converse: Conversation, *, tls: SSLContext | None = None) -> AsyncIterator[int]:
    """A TCP server whose connections are handled by ``converse``; yields its port."""
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def run() -> None:
            try:
                await converse(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                return  # the other side hung up, which is what many tests are about
            finally:
                writer.close()

        task = asyncio.get_running_loop().create_task(run())
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


async def accept_association(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, window: int | None = None
) -> None:
    """Read A-ASSOCIATE-RQ and accept every context in its first transfer syntax.

    The asynchronous operations window is granted as proposed, or narrowed to ``window``; not answered for 1.
    """
    kind, body = await read_pdu(reader)
    request = A_ASSOCIATE_RQ()
    request.decode(struct.pack(">BBL", kind, 0, len(body)) + body)
    primitive = request.to_primitive()
    primitive.result = 0
    accepted = primitive.presentation_context_definition_list
    for context in accepted:
        context.result = 0
        context.transfer_syntax = [context.transfer_syntax[0]]
    primitive.presentation_context_definition_results_list = accepted
    for item in list(primitive.user_information):
        if isinstance(item, AsynchronousOperationsWindowNegotiation) and window is not None:
            item.maximum_number_operations_invoked = window
            if window == 1:
                primitive.user_information.remove(item)
    answer = A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    writer.write(answer.encode())
    await writer.drain()


async def read_pdu(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind, _, length = struct.unpack(">BBL", await reader.readexactly(6))
    return kind, await reader.readexactly(length)


async def read_message(reader: asyncio.StreamReader) -> int:
    """Read P-DATA up to the last fragment of a data set; returns the data set's length."""
    size = 0
    while True:
        kind, body = await read_pdu(reader)
        assert kind == 4, kind
        stream = BytesIO(body)
        while head := stream.read(6):
            length, _, control = struct.unpack(">LBB", head)
            stream.read(length - 2)
            if not control & 1:
                size += length - 2
                if control & 2:
                    return size


def response(
    *, message_id: int = 1, status: int = 0, field: int = 0x8001, sop_instance_uid: str = ""
) -> bytes:
    """A P-DATA-TF PDU with a C-STORE response on context 1."""
    uid = sop_instance_uid.encode() + b"\0" * (len(sop_instance_uid) % 2)
    elements = [
        (0x0100, struct.pack("<H", field)),
        (0x0120, struct.pack("<H", message_id)),
        (0x0800, struct.pack("<H", 0x0101)),
        (0x0900, struct.pack("<H", status)),
        *([(0x1000, uid)] if uid else []),
    ]
    command = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    command = struct.pack("<HHII", 0, 0, 4, len(command)) + command
    return struct.pack(">BBLLBB", 4, 0, len(command) + 6, len(command) + 2, 1, 3) + command
