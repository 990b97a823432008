"""A sender that speaks bytes: whatever a peer may write on an association, right or wrong (PS3.8 9.3, E).

Enter: fields of PDUs, data values and command sets, each of which may be wrong on purpose. Leave:
bytes, and what the other side answered, PDU by PDU. Nothing of the product is used here.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from tests.peers.part10 import data_set_bytes

MR, CT, VERIFICATION = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.70"

CONTEXTS: Mapping[int, tuple[str, str]] = {
    1: (MR, EXPLICIT),
    3: (MR, IMPLICIT),
    5: (MR, BIG),
    7: (MR, DEFLATED),
    9: (VERIFICATION, IMPLICIT),
}

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 2, 3, 4, 5, 6, 7
COMMAND, LAST = 1, 2  # message control header
C_STORE, C_FIND, C_ECHO, C_CANCEL = 0x0001, 0x0020, 0x0030, 0x0FFF


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU; ``length`` may lie."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def value(context_id: int, control: int, data: bytes, length: int | None = None) -> bytes:
    """A presentation data value; ``length`` may lie."""
    return struct.pack(">IBB", len(data) + 2 if length is None else length, context_id, control) + data


RELEASE = pdu(RELEASE_RQ, bytes(4))
ABORTING = pdu(ABORT, bytes(4))


def request(
    contexts: Mapping[int, tuple[str, str]] = CONTEXTS, *, calling: str = "STM_PACS", called: str = "PONS"
) -> bytes:
    """An A-ASSOCIATE-RQ."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(content)) + content

    items = item(0x10, b"1.2.840.10008.3.1.1.1")
    for context_id, (abstract_syntax, transfer_syntax) in contexts.items():
        syntaxes = item(0x30, abstract_syntax.encode()) + item(0x40, transfer_syntax.encode())
        items += item(0x20, bytes([context_id, 0, 0, 0]) + syntaxes)
    items += item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3"))
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    return pdu(1, struct.pack(">HH", 1, 0) + titles + bytes(32) + items)


def command(fields: Mapping[int, int | str]) -> bytes:
    """A command set; numbers are US, texts are UI."""
    body = b""
    for element, field in sorted(fields.items()):
        content = struct.pack("<H", field) if isinstance(field, int) else field.encode()
        content += b"\0" * (len(content) % 2)
        body += struct.pack("<HHI", 0, element, len(content)) + content
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def store_fields(
    sop_instance_uid: str, sop_class_uid: str = MR, *, message_id: int = 7
) -> dict[int, int | str]:
    """The fields of a C-STORE-RQ with a data set (PS3.7 9.3.1.1)."""
    return {
        0x0002: sop_class_uid,
        0x0100: C_STORE,
        0x0110: message_id,
        0x0700: 0,
        0x0800: 1,
        0x1000: sop_instance_uid,
    }  # fmt: skip


ECHO = command({0x0002: VERIFICATION, 0x0100: C_ECHO, 0x0110: 3, 0x0800: 0x0101})


@dataclass(frozen=True)
class Instance:
    """A data set as it travels."""

    sop_instance_uid: str
    data_set: bytes


@cache
def instance(number: int, transfer_syntax: str = EXPLICIT, bulk: int = 0) -> Instance:
    """One MR instance; the same arguments give the same bytes."""
    uid = f"1.2.3.{transfer_syntax.replace('.', '')}.{number}"
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MR, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.Modality, dataset.PatientID, dataset.PatientName = "MR", "P-1", "Doe^Jane"
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "T-A0100", "Brain"
    dataset.ProcedureCodeSequence = [item]
    dataset["ProcedureCodeSequence"].is_undefined_length = True
    dataset.InstanceNumber = number
    if bulk:
        dataset.EncapsulatedDocument = bytes(number % 251 for number in range(bulk))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return Instance(uid, data_set_bytes(file.getvalue()))


def message(
    context_id: int,
    command_set: bytes,
    data_set: bytes | None = None,
    *,
    pieces: Sequence[int] = (1 << 14,),
    values_in_a_pdu: int = 1,
) -> bytes:
    """The PDUs of one message, cut into data values of the given lengths, over and over."""
    sizes = itertools.cycle(pieces)
    values = list(_values(context_id, COMMAND, command_set, sizes))
    if data_set is not None:
        values += _values(context_id, 0, data_set, sizes)
    packed, held = b"", b""
    for number, one in enumerate(values, 1):
        held += one
        if number % values_in_a_pdu == 0 or number == len(values) or len(held) > 1 << 15:
            packed, held = packed + pdu(P_DATA, held), b""
    return packed


def _values(context_id: int, kind: int, content: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    start = 0
    while True:
        stop = start + next(sizes)
        yield value(context_id, kind | (LAST if stop >= len(content) else 0), content[start:stop])
        if stop >= len(content):
            return
        start = stop


class Wire:
    """One association, spoken in bytes."""

    def __init__(self, port: int, *, source: str = "127.0.0.1", asking: bytes | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.write(request() if asking is None else asking)
        self.answer = self.read()

    def write(self, content: bytes, chunks: Iterable[int] = (1 << 20,)) -> None:
        """Write in chunks of the given lengths, over and over; a peer that hung up is not our error."""
        sizes, start = itertools.cycle(chunks), 0
        with contextlib.suppress(OSError):
            while start < len(content):
                start += self.socket.send(content[start : start + next(sizes)])

    def read(self) -> bytes:
        """The next PDU; empty when the peer closed."""
        head = self._exactly(6)
        return head + self._exactly(struct.unpack(">I", head[2:])[0]) if head else b""

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = b""
            with contextlib.suppress(ConnectionError):
                more = self.socket.recv(count - len(data))
            if not more:
                return b""
            data += more
        return data

    def rest(self) -> list[bytes]:
        """Every PDU until the peer closes."""
        return list(iter(self.read, b""))

    def half_close(self) -> None:
        """Say that nothing more will come."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End by RST, as a cable pulled and a firewall does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def status(response: bytes) -> int | None:
    """Status of a response message in one PDU; None when the PDU is none."""
    fields, position = response[12:], 0
    if response[:1] != bytes([P_DATA]):
        return None
    while position + 8 <= len(fields):
        _, element, length = struct.unpack_from("<HHI", fields, position)
        if element == 0x0900:
            return int.from_bytes(fields[position + 8 : position + 8 + length], "little")
        position += 8 + length
    return None
