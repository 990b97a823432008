"""What a peer sees at the edges of the protocol, here and at pynetdicom's own acceptor, side by side.

Each case is written on a fresh association as bytes, and a C-ECHO after it shows whether the
association still stands. Where the two differ it is on purpose, and the case says why.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.channels.inbound import dimse_wire as wire
from tests.channels.inbound.dimse_wire import COMMAND, LAST, Wire, command, message, pdu, store_fields, value
from tests.peers.process import PeerProcess, accepts_connections

PEER = Path(__file__).parents[2] / "peers" / "pynetdicom_scp.py"
SENT = wire.instance(1)
FIELDS = store_fields(SENT.sop_instance_uid)
STORE = command(FIELDS)
WHOLE = message(1, STORE, SENT.data_set)
HALF = message(1, STORE) + pdu(wire.P_DATA, value(1, 0, SENT.data_set[:50]))

# What is seen: statuses of C-STORE responses, then one of these. The numbers of an A-ABORT are its
# source and reason (PS3.8 9.3.8): source 2 is the service provider; 1, 2, 6 are an unrecognized PDU,
# an unexpected PDU and an invalid parameter.
STANDS, RELEASED, CLOSED = "stands", "released", "closed"
UNRECOGNIZED, UNEXPECTED, INVALID = "aborted 2 1", "aborted 2 2", "aborted 2 6"

UNSAID = ["aborted 2 0", CLOSED]

REASON = "theirs never gives a reason (PS3.8 table 9-26 has one)"
LENIENT = "theirs takes it; a message that is broken here may be broken elsewhere, so the sender is told"
DEAD = "theirs loses a thread by it"
LOOKED_INTO = "theirs does not look into what it receives"


@dataclass(frozen=True)
class Edge:
    """What is written, and what is seen."""

    name: str
    content: bytes
    ours: Sequence[str]
    why: str = ""  # where theirs differs
    theirs: Sequence[str] | None = None  # None where `why` says that there is nothing to see
    then_echo: bool = True


EDGES = [
    # right
    Edge("an instance", WHOLE, ["0000", STANDS]),
    Edge("in data values of one byte", message(1, STORE, SENT.data_set, pieces=[1]), ["0000", STANDS]),
    Edge(
        "in odd data values, three to a PDU",
        message(1, STORE, SENT.data_set, pieces=[7, 1, 30], values_in_a_pdu=3),
        ["0000", STANDS],
    ),
    Edge(
        "command and data set in one PDU",
        message(1, STORE, SENT.data_set, values_in_a_pdu=2),
        ["0000", STANDS],
    ),
    Edge("a second before the first is answered", 2 * WHOLE, ["0000", "0000", STANDS]),
    Edge("a PDU without values", pdu(wire.P_DATA, b""), [STANDS]),
    Edge("an empty piece of a command", pdu(wire.P_DATA, value(1, COMMAND, b"")) + WHOLE, ["0000", STANDS]),
    Edge("an echo in a context for storage", message(1, wire.ECHO), ["0000", STANDS]),
    Edge(
        "a cancel with nothing to cancel",
        message(1, command({0x0100: wire.C_CANCEL, 0x0120: 7, 0x0800: 0x0101})),
        [STANDS],
    ),
    Edge(
        "a response to nothing",
        message(1, command({0x0002: wire.MR, 0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0})),
        [STANDS],
    ),
    Edge("a release", wire.RELEASE, [RELEASED], then_echo=False),
    Edge("an abort", wire.ABORTING, [CLOSED]),
    Edge("an abort inside a data set", HALF + wire.ABORTING, [CLOSED]),
    # what the upper layer does not allow
    Edge("a release inside a data set", HALF + wire.RELEASE, [UNEXPECTED, CLOSED], REASON, UNSAID),
    Edge("another request", wire.request(), [UNEXPECTED, CLOSED], REASON, UNSAID),
    Edge("an acceptance", pdu(2, wire.request()[6:]), [UNEXPECTED, CLOSED], REASON, UNSAID),
    Edge("a response to a release", pdu(6, bytes(4)), [UNEXPECTED, CLOSED], REASON, UNSAID),
    Edge(
        "an unknown PDU", pdu(66, bytes(4)), [UNRECOGNIZED, CLOSED],
        "theirs loses its place in the stream and waits for what will not come",
    ),
    Edge(
        "a PDU longer than was agreed",
        message(1, STORE) + pdu(wire.P_DATA, value(1, LAST, SENT.data_set + bytes(200_000))),
        [INVALID, CLOSED],
        "theirs takes a PDU of any length, and its memory with it",
        ["0000", STANDS],
    ),
    Edge("no header of a value", pdu(wire.P_DATA, b"123"), [INVALID, CLOSED], REASON, UNSAID),
    *(
        Edge(
            f"a value that says it has {length} bytes",
            pdu(wire.P_DATA, value(1, LAST, b"1234", length)),
            [INVALID, CLOSED],
            REASON,
            UNSAID,
        )
        for length in (0, 1, 99)
    ),
    *(
        Edge(
            f"context {context_id}, which was not accepted",
            message(context_id, STORE, SENT.data_set),
            [INVALID, CLOSED],
            "theirs aborts as if it were the user",
            ["aborted 0 0", CLOSED],
        )
        for context_id in (2, 11)
    ),
    Edge(
        "a data set without a command", pdu(wire.P_DATA, value(1, LAST, SENT.data_set)), [UNEXPECTED, CLOSED],
        REASON, UNSAID,
    ),
    Edge(
        "a data set in another context than its command",
        HALF + pdu(wire.P_DATA, value(3, LAST, SENT.data_set[50:])),
        [UNEXPECTED, CLOSED],
        LENIENT,
        ["0000", STANDS],
    ),
    Edge("a command inside a data set", HALF + WHOLE, [UNEXPECTED, CLOSED], LENIENT, ["0000", STANDS]),
    Edge(
        "a command that ends inside an element", message(1, STORE[:-3], SENT.data_set), [INVALID, CLOSED],
        LENIENT, ["0000", STANDS],
    ),
    Edge(
        "a command without its field", message(1, command({0x0002: wire.MR, 0x0110: 1, 0x0800: 0x0101})),
        [INVALID, CLOSED], DEAD,
    ),
    # what is answered with a status
    Edge(
        "no data set", message(1, command(FIELDS | {0x0800: 0x0101})), ["C000", STANDS],
        LOOKED_INTO, ["0000", STANDS],
    ),
    Edge("an empty data set", message(1, STORE, b""), ["A900", STANDS], LOOKED_INTO, ["0000", STANDS]),
    Edge(
        "a class that is not the context's", message(1, command(FIELDS | {0x0002: wire.CT}), SENT.data_set),
        ["0122", STANDS], LOOKED_INTO, ["0000", STANDS],
    ),
    Edge(
        "no SOP Instance UID",
        message(1, command({tag: field for tag, field in FIELDS.items() if tag != 0x1000}), SENT.data_set),
        ["A900", STANDS],
        "theirs does not answer at all",
        [STANDS],
    ),
    Edge(
        "a query",
        message(1, command({2: wire.MR, 0x0100: wire.C_FIND, 0x0110: 1, 0x0700: 0, 0x0800: 1}), bytes(8)),
        ["0211", STANDS],
        "theirs aborts; PS3.7 C.5.23 has a status for it",
        ["aborted 0 0", CLOSED],
    ),
    Edge(
        "an operation that does not exist",
        message(1, command({2: wire.MR, 0x0100: 0x0077, 0x0110: 1, 0x0800: 0x0101})),
        ["0211", STANDS],
        DEAD,
    ),
]  # fmt: skip


def seen(port: int, edge: Edge) -> list[str]:
    """What the peer answers to the content, and to an echo after it."""
    found = []
    with Wire(port) as one:
        assert one.answer[0] == wire.ASSOCIATE_AC
        one.write(edge.content + (message(9, wire.ECHO) if edge.then_echo else b""))
        while answer := one.read():
            if answer[0] == wire.ABORT:
                found.append(f"aborted {answer[8]} {answer[9]}")
            elif answer[0] == wire.RELEASE_RP:
                return [*found, RELEASED]
            elif answer[0] == wire.P_DATA and answer[10] == 9:
                return [*found, STANDS]
            else:
                found.append(f"{wire.status(answer):04X}")
    return [*found, CLOSED]


@pytest.fixture
def their_port(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[int]:
    """pynetdicom's acceptor, with the same contexts, that says success to everything."""
    port, contexts = free_port(), json.dumps(list(wire.CONTEXTS.values()))
    argv = [sys.executable, str(PEER), str(port), contexts]
    peer = PeerProcess("pynetdicom", argv, tmp_path / "log")
    peer.wait_ready(lambda: accepts_connections(port))
    yield port
    peer.kill9()


async def test_what_is_seen_here(listening: Callable[..., Any]) -> None:
    async with listening() as port:
        found = {edge.name: await asyncio.to_thread(seen, port, edge) for edge in EDGES}
    assert found == {edge.name: list(edge.ours) for edge in EDGES}


def test_what_is_seen_at_pynetdicoms_own_acceptor(their_port: int) -> None:
    asked = [edge for edge in EDGES if edge.theirs or not edge.why]
    found = {edge.name: seen(their_port, edge) for edge in asked}
    assert found == {edge.name: list(edge.theirs or edge.ours) for edge in asked}


def test_every_difference_is_on_purpose() -> None:
    assert [edge.name for edge in EDGES if edge.theirs and not edge.why] == []
    assert [edge.name for edge in EDGES if edge.theirs == edge.ours] == []
    assert len({edge.name for edge in EDGES}) == len(EDGES)
