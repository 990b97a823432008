"""Several associations at once, each with its own story, their bytes interleaved in any order.

A state machine opens associations, writes any number of bytes of what they have to say, lets others write,
listens, leaves in every way, and knocks with requests that are broken. At any moment a sender that does
everything right is served, and what was answered is what is there. After each run no thread, socket or file
is left. `FUZZ_EXAMPLES=2000` in the environment runs for longer, and not the same runs each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.channels.inbound import dimse_wire as wire
from tests.channels.inbound.dimse_sayings import Ending, Step, doubtful, endings, other, requests, whole
from tests.channels.inbound.dimse_wire import Wire, message, store_fields
from tests.peers.part10 import data_set_bytes

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
BUDGET = settings(
    max_examples=EXAMPLES or 20,
    stateful_step_count=40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
PATIENCE = 30.0  # seconds
FOUR = st.integers(0, 3)
COUNTS = st.sampled_from([1, 2, 5, 6, 7, 11, 12, 13, 100, 4096, 1 << 16, 1 << 20])


class Told:
    """What was sent and answered in all runs."""

    def __init__(self) -> None:
        self.sent: dict[str, bytes] = {}
        self.acknowledged: set[str] = set()
        self.seen: Counter[str] = Counter()


class Story:
    """One association: what it has to say, how much of it is said, what it waits for."""

    def __init__(self, port: int, told: Told) -> None:
        self.wire = Wire(port)
        assert self.wire.answer[0] == wire.ASSOCIATE_AC
        self._told = told
        self._unsaid = b""
        self._waiting: deque[tuple[int, Step]] = deque()  # where its message ends
        self._said = self._planned = 0

    def plan(self, step: Step) -> None:
        """Something more to say."""
        self._unsaid += step.content
        self._planned += len(step.content)
        self._waiting.append((self._planned, step))
        if step.stored:
            self._told.sent[step.stored.sop_instance_uid] = step.stored.data_set

    def say(self, count: int) -> None:
        """So many bytes of it."""
        some, self._unsaid = self._unsaid[:count], self._unsaid[count:]
        self._said += len(some)
        self.wire.write(some)

    def hear(self) -> None:
        """The answers to all that has been said in full."""
        while self._waiting and self._waiting[0][0] <= self._said:
            _, step = self._waiting.popleft()
            if not step.right:
                continue
            answered = wire.status(self.wire.read())
            assert answered in step.right
            self._told.seen["answered"] += 1
            if step.stored and answered == 0x0000:
                self._told.acknowledged.add(step.stored.sop_instance_uid)

    def end(self, ending: Ending) -> None:
        """Say all, then what ends it, and hear what comes of it."""
        with self.wire:
            self.say(len(self._unsaid))
            self.hear()
            self.wire.write(ending.content)
            if ending.leave == "close":
                return
            if ending.leave == "reset":
                self.wire.reset()
                return
            if ending.leave == "abort":
                self.wire.write(wire.ABORTING)
            self.wire.half_close()
            rest = self.wire.rest()
            if ending.answer is not None:
                assert [pdu[0] for pdu in rest] == [ending.answer]
                self._told.seen["ended"] += 1

    def vanish(self, how: str) -> None:
        """Leave wherever it stands, in the middle of a message more often than not."""
        with self.wire:
            if how == "abort":
                self.wire.write(wire.ABORTING)
            elif how == "reset":
                self.wire.reset()


class House:
    """What may not grow: as far as the machine may look into it."""

    def __init__(self, port: int, house: Any) -> None:
        self.port, self._house = port, house
        self._sockets = sockets()

    def left(self) -> list[str]:
        """What is left of associations."""
        found = [f"{count} threads" for count in [serving()] if count]
        found += [f"{more} sockets" for more in [sockets() - self._sockets] if more > 0]
        found += [str(path) for path in self._house.landing]
        return found + [f"{count} sessions" for count in [self._house.open_sessions] if count]


def serving() -> int:
    """Threads that serve associations."""
    return sum(thread.name == "pons-association" for thread in threading.enumerate())


def sockets() -> int:
    """Sockets of this process."""
    count = 0
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(number.readlink()).startswith("socket:")
    return count


def machine(house: House, told: Told) -> type[RuleBasedStateMachine]:
    """The state machine of a listening channel."""

    class Senders(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.stories: dict[int, Story] = {}

        def story(self, number: int) -> Story:
            """One of four; whoever has left comes again on a new association."""
            if number not in self.stories:
                self.stories[number] = Story(house.port, told)
            return self.stories[number]

        @rule(number=FOUR, step=st.one_of(whole(), whole(), doubtful(), other()))
        def plans(self, number: int, step: Step) -> None:
            self.story(number).plan(step)

        @rule(number=FOUR, count=COUNTS)
        def says(self, number: int, count: int) -> None:
            self.story(number).say(count)

        @rule(number=FOUR)
        def hears(self, number: int) -> None:
            self.story(number).hear()

        @rule(number=FOUR, ending=endings())
        def ends(self, number: int, ending: Ending) -> None:
            self.story(number).end(ending)
            del self.stories[number]

        @rule(number=FOUR, how=st.sampled_from(["close", "reset", "abort"]))
        def vanishes(self, number: int, how: str) -> None:
            self.story(number).vanish(how)
            del self.stories[number]

        @rule(request=requests(), patient=st.booleans())
        def knocks(self, request: bytes, patient: bool) -> None:
            """A request that is answered by an acceptance, a rejection or an abort, or by nothing at all."""
            one = socket.create_connection(("127.0.0.1", house.port), timeout=PATIENCE)
            with one, contextlib.suppress(ConnectionError):
                one.sendall(request)
                if patient:
                    one.shutdown(socket.SHUT_WR)
                    answer = one.recv(1)
                    assert answer in (b"", b"\2", b"\3", b"\7")
                    told.seen["knocked"] += 1

        @rule(number=st.integers(500, 503))
        def is_served(self, number: int) -> None:
            """A sender that does everything right, whatever the others have left half said."""
            right = wire.instance(number)
            with Wire(house.port) as one:
                command = wire.command(store_fields(right.sop_instance_uid))
                one.write(message(1, command, right.data_set) + wire.RELEASE)
                assert wire.status(one.read()) == 0x0000
                assert [pdu[0] for pdu in one.rest()] == [wire.RELEASE_RP]
            told.sent[right.sop_instance_uid] = right.data_set
            told.acknowledged.add(right.sop_instance_uid)
            told.seen["served"] += 1

        def teardown(self) -> None:
            for story in self.stories.values():
                story.vanish("close")
            deadline = time.monotonic() + PATIENCE
            while left := house.left():
                assert time.monotonic() < deadline, f"left behind: {left}"
                time.sleep(0.01)

    return Senders


async def test_whatever_several_say_at_once_each_is_answered_for_itself(
    listening: Callable[..., Any], house: Any
) -> None:
    told = Told()
    async with listening(max_associations=64) as port:
        senders = machine(House(port, house), told)
        await asyncio.to_thread(run_state_machine_as_test, senders, settings=BUDGET)

    assert all(told.seen[one] > 5 for one in ("answered", "ended", "knocked", "served")), told.seen
    stored = {path.name.partition("-")[0]: data_set_bytes(path.read_bytes()) for path in house.stored}
    assert len(told.acknowledged) > 5
    assert {uid: stored[uid] for uid in told.acknowledged} == {
        uid: told.sent[uid] for uid in told.acknowledged
    }
    # what was said whole, and not heard before the sender left, may be there: but then whole
    assert all(stored[uid] == told.sent[uid] for uid in stored.keys() & told.sent.keys())
