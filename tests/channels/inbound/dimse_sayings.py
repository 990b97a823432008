"""What a sender may say on an association, right or wrong, as hypothesis draws it (PS3.7 9.1, PS3.8 9.3).

Enter: choices. Leave: messages with the statuses that are right for them, endings with the PDU that is right
for them, and requests for an association of which only the first bytes can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.channels.inbound import dimse_wire as wire
from tests.channels.inbound.dimse_wire import LAST, message, pdu, store_fields, value


@dataclass(frozen=True)
class Step:
    """One message and the statuses that are right for it; an empty set: no answer at all."""

    content: bytes
    right: frozenset[int]
    stored: wire.Instance | None = None  # what success of it means


ANY_FAILURE = frozenset({0xC000, 0xA900, 0x0122})
ANYTHING = ANY_FAILURE | {0x0000, 0x0111}

pieces = st.one_of(
    st.just([1 << 14]),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.lists(st.sampled_from([1, 2, 3, 255, 4097, 16384]), min_size=1, max_size=3),
)
contexts = st.sampled_from([1, 3, 5, 7])
numbers = st.integers(1, 4)


@st.composite
def whole(draw: st.DrawFn) -> Step:
    """A C-STORE that is right."""
    context_id, bulk = draw(contexts), draw(st.sampled_from([0, 0, 0, 1, 3000, 200_000]))
    sent = wire.instance(draw(numbers) * 1_000_000 + bulk, wire.CONTEXTS[context_id][1], bulk)
    cut = [1 << 14, 5] if bulk > 3000 else draw(pieces)
    content = message(
        context_id,
        wire.command(store_fields(sent.sop_instance_uid)),
        sent.data_set,
        pieces=cut,
        values_in_a_pdu=draw(st.integers(1, 3)),
    )
    return Step(content, frozenset({0x0000}), sent)


@st.composite
def doubtful(draw: st.DrawFn) -> Step:
    """A C-STORE, well framed, with something wrong in it: refused, and the association goes on."""
    context_id, cut = draw(contexts), draw(pieces)
    sent = wire.instance(draw(st.integers(90_000, 90_003)), wire.CONTEXTS[context_id][1])
    fields, data_set, right = store_fields(sent.sop_instance_uid), sent.data_set, ANY_FAILURE
    match draw(st.sampled_from(["cut", "empty", "changed", "class", "instance", "no uid", "none", "later"])):
        case "cut":
            data_set = data_set[: draw(st.integers(1, len(data_set) - 1))]
            right = ANYTHING  # between two elements it is whole
        case "empty":
            data_set = b""
        case "changed":
            changed = bytearray(data_set)
            for at, byte in draw(
                st.lists(st.tuples(st.integers(0, len(changed) - 1), st.integers(0, 255)), max_size=8)
            ):
                changed[at] = byte
            data_set, right = bytes(changed), ANYTHING
        case "class":
            fields[0x0002], right = wire.CT, frozenset({0x0122})
        case "instance":
            fields[0x1000], right = "1.2.3.9.9", frozenset({0xA900})
        case "no uid":
            del fields[draw(st.sampled_from([0x0002, 0x1000]))]
            right = ANYTHING
        case "later":  # elements that are none of a C-STORE-RQ
            fields |= {0x5110: "1.2.3", 0x1031: 1}
            data_set = b"\xff" * 77
        case "none":
            fields[0x0800] = 0x0101
            return Step(message(context_id, wire.command(fields), pieces=cut), frozenset({0xC000}))
    return Step(message(context_id, wire.command(fields), data_set, pieces=cut), right)


@st.composite
def other(draw: st.DrawFn) -> Step:
    """Echoes, cancels and operations that are not served."""
    cut = draw(pieces)
    match draw(st.sampled_from(["echo", "cancel", "find"])):
        case "echo":
            return Step(message(9, wire.ECHO, pieces=cut), frozenset({0x0000}))
        case "cancel":
            cancel = wire.command({0x0100: wire.C_CANCEL, 0x0120: 7, 0x0800: 0x0101})
            return Step(message(draw(contexts), cancel, pieces=cut), frozenset())
        case _:
            find = wire.command({0x0100: wire.C_FIND, 0x0110: 5, 0x0700: 0, 0x0800: 1})
            return Step(message(draw(contexts), find, b"\x10\0\x20\0LO\0\0", pieces=cut), frozenset({0x0211}))


@dataclass(frozen=True)
class Ending:
    """What is written last, how the socket is left, and what PDU comes back for it."""

    content: bytes
    leave: str = "half close"
    answer: int | None = None  # type of the last PDU; None: it may be any or none


@st.composite
def endings(draw: st.DrawFn) -> Ending:
    """The ways in which an association ends, a C-STORE under way or not."""
    sent = wire.instance(80_000)
    start = message(1, wire.command(store_fields(sent.sop_instance_uid)))
    start += pdu(wire.P_DATA, value(1, 0, sent.data_set[: draw(st.integers(0, 200))]))
    under_way = start if draw(st.booleans()) else b""
    leave = draw(st.sampled_from(["half close", "close", "reset", "abort"]))
    aborted = 7 if leave == "half close" else None
    short = wire.command(store_fields("1.2.3"))
    match draw(st.sampled_from([
        "release", "leave", "inside", "unknown context", "other context", "command inside", "value length",
        "no header", "pdu type", "pdu length", "command cut", "command endless", "command odd", "mutated",
        "noise",
    ])):  # fmt: skip
        case "release":
            return Ending(wire.RELEASE, answer=wire.RELEASE_RP)
        case "leave":
            return Ending(under_way, leave)
        case "inside":
            return Ending(start + wire.RELEASE, leave, aborted)
        case "unknown context":
            unknown = draw(st.sampled_from([0, 2, 11, 255]))
            return Ending(message(unknown, short, b"\x08\0\x05\0CS\0\0"), leave, aborted)
        case "other context":
            return Ending(start + pdu(wire.P_DATA, value(3, LAST, sent.data_set)), leave, aborted)
        case "command inside":
            return Ending(start + message(draw(contexts), wire.ECHO), leave, aborted)
        case "value length":
            lie = draw(st.sampled_from([0, 1, 11, 1 << 20, 0xFFFFFFFF]))
            return Ending(under_way + pdu(wire.P_DATA, value(1, LAST, bytes(4), lie)), leave, aborted)
        case "no header":
            short_value = draw(st.binary(min_size=1, max_size=5))
            return Ending(under_way + pdu(wire.P_DATA, short_value), leave, aborted)
        case "pdu type":
            kind = draw(st.sampled_from([0, 1, 2, 3, 6, 8, 66, 255]))
            return Ending(under_way + pdu(kind, bytes(draw(st.integers(0, 90)))), leave, aborted)
        case "pdu length":
            return Ending(
                under_way + pdu(wire.P_DATA, b"", draw(st.sampled_from([1 << 20, 0xFFFFFFFF]))),
                leave,
                aborted,
            )
        case "command cut":
            cut = short[: draw(st.integers(1, len(short) - 1))]
            return Ending(message(1, cut, sent.data_set), leave)
        case "command endless":
            return Ending(
                message(1, short + wire.command({0x0902: "x" * 66_000}), sent.data_set), leave, aborted
            )
        case "command odd":
            odd = short[:12] + draw(st.binary(min_size=1, max_size=60))
            return Ending(message(1, odd, sent.data_set), leave)
        case "mutated":
            stream = bytearray(start + pdu(wire.P_DATA, value(1, LAST, sent.data_set[200:])))
            for at, byte in draw(
                st.lists(st.tuples(st.integers(0, len(stream) - 1), st.integers(0, 255)), min_size=1)
            ):
                stream[at] = byte
            return Ending(bytes(stream), leave)
        case _:
            return Ending(under_way + draw(st.binary(max_size=300)), leave)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """An A-ASSOCIATE-RQ with something wrong in it, or one that asks for a lot."""
    asked = bytearray(wire.request())
    match draw(st.sampled_from(["changed", "cut", "length", "item", "many", "none", "stranger", "noise"])):
        case "changed":
            for at, byte in draw(
                st.lists(
                    st.tuples(st.integers(6, len(asked) - 1), st.integers(0, 255)), min_size=1, max_size=8
                )
            ):
                asked[at] = byte
        case "cut":
            return bytes(asked[: draw(st.integers(1, len(asked) - 1))])
        case "length":
            lie = draw(st.sampled_from([0, 1, 67, 68, len(asked), 1 << 20, 0xFFFFFFFF]))
            return bytes(pdu(1, bytes(asked[6:]), lie))
        case "item":  # the length of the first item, that of the application context
            asked[76:78] = draw(st.binary(min_size=2, max_size=2))
        case "many":
            contexts = dict.fromkeys(range(1, draw(st.integers(10, 256)), 2), wire.CONTEXTS[1])
            return wire.request(contexts)
        case "none":
            return wire.request({})
        case "stranger":
            return wire.request(calling=draw(st.sampled_from(["", "NOBODY", "\t", "*" * 16])))
        case _:
            return draw(st.binary(min_size=1, max_size=200))
    return bytes(asked)
