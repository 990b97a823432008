"""A receiver that only acknowledges: what it is told it forgets. A process an association.

Run as `python -m bench.send.null_receiver PORT`. It takes explicit VR little endian, PDUs of 128 KB and,
where that is proposed, several requests at once; it answers in one write. PS3.8 9.3, PS3.7 9.1.1.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator

from bench.intake.sender import EXPLICIT, LONGEST, exactly
from channels.transport import command_set

BUFFER = 1 << 20


def accept(connection: socket.socket) -> None:
    """Answer A-ASSOCIATE-RQ: every context in explicit VR, the window as proposed."""
    from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

    raw = exactly(connection, 6)
    raw += exactly(connection, struct.unpack(">L", raw[2:])[0])
    request = A_ASSOCIATE_RQ()
    request.decode(raw)
    primitive = request.to_primitive()
    primitive.result = 0
    contexts = primitive.presentation_context_definition_list
    for context in contexts:
        context.result = 0 if EXPLICIT in context.transfer_syntax else 4
        context.transfer_syntax = [EXPLICIT]
    primitive.presentation_context_definition_results_list = contexts
    for item in primitive.user_information:
        if hasattr(item, "maximum_length_received"):
            item.maximum_length_received = LONGEST
    answer = A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    connection.sendall(answer.encode())


def messages(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Context id and command set of each message, when its data set is over; ends at anything but P-DATA."""
    buffer = bytearray(BUFFER)
    view = memoryview(buffer)
    start = end = 0
    command = bytearray()

    def more() -> bool:
        nonlocal start, end
        if start:
            view[: end - start] = view[start:end]
            start, end = 0, end - start
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        count = connection.recv_into(view[end:])
        end += count
        return count > 0

    while True:
        while end - start < 10:  # a release is no longer
            if not more():
                return
        if buffer[start] == 5:
            connection.sendall(b"\6\0\0\0\0\4\0\0\0\0")
        if buffer[start] != 4:
            return
        while end - start < 12:
            if not more():
                return
        _, _, length, value, context_id, control = struct.unpack_from(">BBLLBB", buffer, start)
        if value + 4 != length:
            raise RuntimeError("this receiver takes one fragment a PDU")
        start += 12
        left = value - 2
        while left:
            if start == end and not more():
                return
            part = min(left, end - start)
            if control & 1:
                command += view[start : start + part]
            start, left = start + part, left - part
        if control == 2:  # the last fragment of a data set
            yield context_id, bytes(command)
            command.clear()


def answered(context_id: int, command: bytes) -> bytes:
    """C-STORE-RSP with success, in one PDU."""
    asked = command_set.decode(command)
    uid = command_set.uid(asked, command_set.AFFECTED_SOP_INSTANCE_UID)
    said = command_set.encode(
        {
            command_set.COMMAND_FIELD: 0x8001,
            command_set.MESSAGE_ID_RESPONDED_TO: command_set.number(asked, command_set.MESSAGE_ID) or 0,
            command_set.DATA_SET_TYPE: command_set.NO_DATA_SET,
            command_set.STATUS: 0,
            command_set.AFFECTED_SOP_INSTANCE_UID: uid,
        }
    )
    return struct.pack(">BBLLBB", 4, 0, len(said) + 6, len(said) + 2, context_id, 3) + said


def serve(port: int) -> None:
    """Until it is killed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.create_server(("127.0.0.1", port), backlog=64) as server:
        while True:
            connection, _ = server.accept()
            if os.fork():
                connection.close()
                continue
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(120)
                try:
                    accept(connection)
                    for context_id, command in messages(connection):
                        connection.sendall(answered(context_id, command))
                except OSError:
                    pass  # the readiness probe hangs up at once
            os._exit(0)


if __name__ == "__main__":
    import pynetdicom.pdu  # noqa: F401  before the forks

    serve(int(sys.argv[1]))
