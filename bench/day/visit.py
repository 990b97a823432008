"""One visit of a sender: it opens, sends, idles, and leaves well or badly.

Enter: a port, what is sent, how it ends. Leave: in the diary what was acknowledged, refused, or went wrong
though the sender did nothing wrong. What is not answered, because the sender dropped, is not counted: it may
be stored or not, but never half. PS3.8 9.3, PS3.18 10.5.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from bench.day.objects import SMALL, Instance
from bench.faults.records import Acknowledged
from bench.intake import sender
from bench.stow import sender as stow

ABORT = struct.pack(">BxL4x", 7, 4)  # A-ABORT by the service user
RELEASE = struct.pack(">BxL4x", 5, 4)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

GOOD = ("release", "idle")
BAD = ("abort", "reset", "half", "unheard", "stall")
"""An A-ABORT inside a data set, a TCP reset there, a PDU cut short, gone without the answer, and half
a PDU that is followed by silence."""


@dataclass
class Diary:
    """What became of the visits of one process."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)  # seconds, of small instances by C-STORE
    associations: int = 0
    requests: int = 0  # by STOW-RS
    dropped: int = 0
    refused: int = 0  # turned away for now: no place for an association, A7xx, 503
    failed: list[str] = field(default_factory=list)  # a sender that did nothing wrong was let down


def refusal(error: RuntimeError) -> bool:
    """Whether a peer is turned away for now: A-ASSOCIATE-RJ that is transient, or 503 and 507."""
    text = str(error)
    return "association: 0300000000040002" in text or "answers HTTP/1.1 503" in text or "1.1 507" in text


def associate(port: int, one: Instance) -> tuple[socket.socket, int]:
    """An association for the object's class."""
    return sender.associate(port, "PONS", one.kind)


def c_store(port: int, sent: Sequence[Instance], ending: str, random: Random, diary: Diary) -> None:
    """One association."""
    connection, longest = associate(port, sent[0])
    diary.associations += 1
    with connection:
        for one in sent[:-1] if ending in BAD else sent:
            time.sleep(random.choice((0.0, 0.0, random.uniform(0, 0.6))))
            whole = message(one, longest)
            began = time.monotonic()
            connection.sendall(whole)
            status = sender.answer(connection)
            if one.kind is SMALL:
                diary.answered.append(time.monotonic() - began)
            _noted(one, status, diary)
        if ending in BAD:
            diary.dropped += 1
            _drop(connection, message(sent[-1], longest), ending, random)
            return
        if ending == "idle":
            time.sleep(random.uniform(0, 6))
        connection.sendall(RELEASE)
        connection.settimeout(60)
        sender.exactly(connection, 10)


def _noted(one: Instance, status: int, diary: Diary) -> None:
    if status == 0x0000:
        diary.acknowledged.append(acknowledged(one, "c_store"))
    elif status & 0xFF00 == 0xA700:
        diary.refused += 1
    else:
        diary.failed.append(f"C-STORE was answered with {status:04X}")


def acknowledged(one: Instance, way: str) -> Acknowledged:
    """What the judge needs to know of it."""
    return Acknowledged("bench", one.study_instance_uid, one.sop_instance_uid, one.number, one.sha256(), way)


def message(one: Instance, longest: int) -> bytes:
    """A whole C-STORE request."""
    command = memoryview(sender.command_set(one.kind, one.sop_instance_uid, one.number + 1))
    data = memoryview(b"".join([one.head, *one.pixels()]))
    return b"".join([*sender.fragments(command, longest, 1), *sender.fragments(data, longest, 0)])


def _drop(connection: socket.socket, whole: bytes, ending: str, random: Random) -> None:
    """Leave in the middle of a message."""
    if ending == "unheard":
        connection.sendall(whole)
        return
    if ending == "abort":
        connection.sendall(whole[: _after_a_pdu(whole, random)] + ABORT)
        return
    connection.sendall(whole[: random.randrange(1, len(whole))])
    if ending == "stall":
        time.sleep(random.uniform(0, 8))
    if ending != "half":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def _after_a_pdu(whole: bytes, random: Random) -> int:
    """Where one of the PDUs ends that are not the last."""
    ends, at = [0], 0
    while at < len(whole):
        at += 6 + int.from_bytes(whole[at + 2 : at + 6], "big")
        ends.append(at)
    return random.choice(ends[:-1])


def stow_rs(port: int, sent: Sequence[Instance], ending: str, random: Random, diary: Diary) -> None:
    """One request."""
    kind = sent[0].kind
    between = stow.request("/dicomweb/studies", [one.file_head() for one in sent], kind.pixels)
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ending in BAD and ending != "unheard":
            diary.dropped += 1
            head = between[0] + bytes(random.randrange(kind.pixels))
            connection.sendall(head[: random.randrange(1, len(head))])
            if ending == "stall":
                time.sleep(random.uniform(0, 8))
            if ending != "half":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            return
        stow.post(connection, between, kind.pixels)
        if ending == "unheard":
            diary.dropped += 1
            return
        if stow.answer(connection) != len(sent):
            diary.failed.append("an answer of 200 does not name each instance")
            return
        diary.requests += 1
        diary.acknowledged += [acknowledged(one, "stow_rs") for one in sent]
