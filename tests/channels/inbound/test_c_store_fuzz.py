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
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from channels.transport import association
from engine.model import Part
from tests.channels.inbound import dimse_wire as wire
from tests.channels.inbound.dimse_sayings import Ending, Step, doubtful, endings, other, whole
from tests.channels.inbound.dimse_wire import Wire
from tests.peers import dcmtk
from tests.peers.part10 import data_set_bytes

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
BUDGET = settings(
    max_examples=EXAMPLES or 120,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


chunks = st.one_of(
    st.just([1 << 20]),
    st.just([1]),
    st.lists(st.sampled_from([1, 2, 5, 6, 7, 11, 12, 13, 4096, 1 << 16]), min_size=1, max_size=5),
)


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
