"""Whatever is written on an association, the others are served, and nothing is left behind.

Each example is one association: messages whose answer is known, in any fragmentation, then an
ending, most of them broken. Two legitimate senders store all the while. `FUZZ_EXAMPLES=20000` in the
environment runs for longer, and not the same examples each time.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from channels.transport import association
from engine.model import Part
from tests.channels.inbound import dimse_wire as wire
from tests.channels.inbound.dimse_wire import LAST, Wire, message, pdu, store_fields, value
from tests.peers import dcmtk
from tests.peers.part10 import data_set_bytes

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
BUDGET = settings(
    max_examples=EXAMPLES or 250,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


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
chunks = st.one_of(
    st.just([1 << 20]),
    st.just([1]),
    st.lists(st.sampled_from([1, 2, 5, 6, 7, 11, 12, 13, 4096, 1 << 16]), min_size=1, max_size=5),
)


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


class Outcome:
    """What the examples sent, and what was answered for it."""

    def __init__(self) -> None:
        self.sent: dict[str, bytes] = {}
        self.acknowledged: set[str] = set()
        self.endings: Counter[str] = Counter()

    def run(
        self, port: int, steps: Sequence[Step], ending: Ending, cut: Sequence[int], lockstep: bool
    ) -> None:
        """One association, from its request to its end."""
        for step in steps:
            if step.stored:
                self.sent[step.stored.sop_instance_uid] = step.stored.data_set
        if sum(len(step.content) for step in steps) > 40_000:
            cut = [size * 97 + 13 for size in cut]  # a byte at a time would take all day
        with Wire(port) as one:
            assert one.answer[0] == wire.ASSOCIATE_AC
            if lockstep:
                for step in steps:
                    one.write(step.content, cut)
                    self._hear(one, step)
                one.write(ending.content, cut)
            else:
                one.write(b"".join(step.content for step in steps) + ending.content, cut)
            if ending.leave == "close":
                return
            if ending.leave == "reset":
                one.reset()
                return
            if ending.leave == "abort":
                one.write(wire.ABORTING)
            one.half_close()
            if not lockstep:
                for step in steps:
                    self._hear(one, step)
            rest = one.rest()
            if ending.answer is not None:
                assert [pdu[0] for pdu in rest] == [ending.answer]
                self.endings[str(ending.answer)] += 1

    def _hear(self, one: Wire, step: Step) -> None:
        if not step.right:
            return
        answered = wire.status(one.read())
        assert answered in step.right
        if step.stored and answered == 0x0000:
            self.acknowledged.add(step.stored.sop_instance_uid)


def open_here() -> Counter[str]:
    """Sockets and files of this process, by kind; what others create anew is no leak of ours."""
    kinds: Counter[str] = Counter()
    for number in Path("/proc/self/fd").iterdir():
        try:
            target = str(number.readlink())
        except OSError:
            continue  # the listing's own
        kinds[
            "socket" if target.startswith("socket:") else "landing" if "/landing/" in target else "other"
        ] += 1
    return kinds


def threads() -> list[str]:
    """Those that serve associations."""
    return [thread.name for thread in threading.enumerate() if thread.name == "pons-association"]


async def our_sender(port: int, files: Sequence[Path], over: asyncio.Event) -> int:
    """Store again and again with the product's own SCU; how many times."""
    peer = association.Peer("127.0.0.1", port, "PONS", "STM_PACS")
    parts = [Part(file.stem, "application/dicom", file) for file in files]
    rounds = 0
    while not over.is_set():
        stored = await association.store(peer, parts)
        assert (stored.code, stored.warning) == ("0000", "")
        rounds += 1
        await asyncio.sleep(0.05)
    return rounds


async def dcmtk_sender(port: int, files: Sequence[Path], over: asyncio.Event) -> int:
    """The same with storescu."""
    rounds = 0
    while not over.is_set():
        sent = await asyncio.to_thread(dcmtk.storescu, port, files, calling="STM_PACS")
        assert sent.exit_status == 0, sent.output
        assert len(sent.acknowledged) == len(files)
        rounds += 1
    return rounds


@pytest.mark.peers
async def test_nothing_written_on_one_association_harms_another(
    listening: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    tmp_path: Path,
) -> None:
    files = [tmp_path / f"legitimate-{number}.dcm" for number in range(1, 5)]
    for number, file in enumerate(files, 1):
        file.write_bytes(instance(number, study="1.2.4", bulk=20_000))
    outcome = Outcome()

    def fuzz(port: int) -> None:
        @BUDGET
        @given(
            steps=st.lists(st.one_of(whole(), whole(), doubtful(), other()), max_size=4),
            ending=endings(),
            cut=chunks,
            lockstep=st.booleans(),
        )
        def examine(steps: list[Step], ending: Ending, cut: list[int], lockstep: bool) -> None:
            outcome.run(port, steps, ending, cut, lockstep)

        examine()

    over = asyncio.Event()
    async with listening(max_associations=200) as port:
        before = open_here()
        senders = [asyncio.create_task(send(port, files, over)) for send in (our_sender, dcmtk_sender)]
        try:
            await asyncio.to_thread(fuzz, port)
        finally:
            over.set()
            rounds = await asyncio.gather(*senders)
        await eventually(lambda: not threads())
        await eventually(lambda: open_here()["socket"] == before["socket"])
        assert (open_here()["landing"], house.landing, house.open_sessions) == (before["landing"], [], 0)

    assert min(rounds) >= 1
    assert set(outcome.endings) == {str(wire.RELEASE_RP), str(wire.ABORT)}
    stored = {path.name.partition("-")[0]: data_set_bytes(path.read_bytes()) for path in house.stored}
    assert len(outcome.acknowledged) > 10
    assert {uid: stored[uid] for uid in outcome.acknowledged} == {
        uid: outcome.sent[uid] for uid in outcome.acknowledged
    }
    # what was sent whole, and not answered before the sender left, may be there: but then whole
    assert all(stored[uid] == outcome.sent[uid] for uid in stored.keys() & outcome.sent.keys())
