"""A study goes to a PACS that must commit to it: what the engine sends, asks and believes, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engine import commitment
from engine.dispatch import Destination, Dispatch
from engine.store import commitments, deliveries
from engine.store.tables import deliveries as rows
from tests.contract.house import DESTINATION, House
from tests.engine.conftest import HandClock
from tests.peers.commitment_scp import CommitmentScp, committing

TIMEOUT = 3600.0


class Waiting(House):
    """A house whose destination must commit, and whose clock moves when the test says so."""

    def __init__(self, folder: Path, scp: CommitmentScp, **block: Any) -> None:
        peer = {"host": "127.0.0.1", "port": scp.port, "ae_title": "PEER", "storage_commitment": True}
        block = {"retry": {"first": "1s", "cap": "1s"}} | block
        self.clock = HandClock()
        super().__init__(folder, {"type": "dicom_forward", **peer, **block}, "20s", self.clock)

    @asynccontextmanager
    async def dispatching(self) -> AsyncIterator[None]:
        dispatch = Dispatch(
            self._database,
            self.clock,
            self._decider,
            {DESTINATION: Destination(self.declared, self.channel)},
            data=self._data,
            node="n1",
        )
        running = asyncio.create_task(dispatch.run())
        try:
            yield
        finally:
            dispatch.drain()
            await running

    def row(self) -> Any:
        return self._database.read_now(lambda c: c.execute(select(rows)).one())

    def attempts(self) -> list[Any]:
        delivery_id = self.row().delivery_id
        return list(self._database.read_now(lambda c: deliveries.attempts_of(c, delivery_id)))

    async def until(self, what: Callable[[Any], object]) -> Any:
        deadline = time.monotonic() + 30
        while not what(row := self.row()):
            assert time.monotonic() < deadline, f"{row.state}: {row.reason}"
            await asyncio.sleep(0.02)
        return row


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "OVERDUE", 0.05)


@asynccontextmanager
async def waiting(folder: Path, scp: CommitmentScp, **block: Any) -> AsyncIterator[Waiting]:
    house = Waiting(folder, scp, **block)
    try:
        await house.study()
        async with house.dispatching():
            yield house
    finally:
        house.close()


async def test_a_study_is_delivered_once_the_pacs_has_committed_to_all_of_it(tmp_path: Path) -> None:
    with committing(CommitmentScp()) as scp:
        async with waiting(tmp_path, scp) as house:
            row = await house.until(lambda row: row.state == "delivered")

    assert row.reason == "stored and committed"
    assert len(scp.stored) == 2
    assert [each.outcome for each in house.attempts()] == ["stored"]


async def test_of_a_denied_study_only_what_failed_is_sent_again_and_not_at_once(tmp_path: Path) -> None:
    with committing(CommitmentScp()) as scp:
        house = Waiting(tmp_path, scp)
        study = await house.study()
        first, second = sorted(each.sop_instance_uid for each in study.stored)
        scp.plan.append(f"deny {second}")
        async with house.dispatching():
            row = await house.until(lambda row: "did not commit" in row.reason)
            assert (row.state, row.stored) == ("waiting", [first])
            house.clock.advance(commitments.BACKOFF[0] - 1)
            await asyncio.sleep(0.3)  # several looks
            assert len(scp.asked) == 1
            house.clock.advance(1)
            row = await house.until(lambda row: row.state == "delivered")
        house.close()

    assert scp.stored == [first, second, second]
    assert [{uid for _, uid in each.references} for each in scp.asked] == [{first, second}] * 2
    assert len({each.transaction_uid for each in scp.asked}) == 2


async def test_what_is_denied_for_ever_is_a_dead_letter_with_the_reason(tmp_path: Path) -> None:
    with committing(CommitmentScp(["deny"] * 9)) as scp:
        async with waiting(tmp_path, scp) as house:
            for number, backoff in enumerate(commitments.BACKOFF, 1):
                await house.until(
                    lambda row, n=number: row.attempts == n and row.reason.endswith("object instance)")
                )
                house.clock.advance(backoff)
            row = await house.until(lambda row: row.state == "dead")

    assert "did not commit to 2 instances: 0112 (no such object instance); denied 3 times" in row.reason
    assert len(scp.stored) == 6


async def test_a_silent_pacs_is_asked_again_and_sent_nothing(tmp_path: Path) -> None:
    with committing(CommitmentScp(["silent"])) as scp:
        async with waiting(tmp_path, scp, commitment_wait="100ms") as house:
            await house.until(lambda row: row.state == "waiting")
            house.clock.advance(TIMEOUT)
            await house.until(lambda row: row.state == "delivered")

    assert (len(scp.stored), len(scp.asked)) == (2, 2)
    assert [each.outcome for each in house.attempts()] == ["stored", "stored"]


async def test_a_pacs_that_stays_silent_past_the_give_up_age_is_a_dead_letter(tmp_path: Path) -> None:
    with committing(CommitmentScp(["silent"] * 9)) as scp:
        retry = {"give_up_after": "2h"}
        async with waiting(tmp_path, scp, commitment_wait="100ms", retry=retry) as house:
            await house.until(lambda row: row.state == "waiting")
            house.clock.advance(TIMEOUT)
            await house.until(lambda row: row.attempts == 2 and row.state == "waiting")
            house.clock.advance(TIMEOUT)
            row = await house.until(lambda row: row.state == "dead")

    assert "gave up: the peer has not reported in time whether it commits" in row.reason
    assert len(scp.stored) == 2


async def test_a_pacs_that_cannot_now_is_tried_again(tmp_path: Path) -> None:
    with committing(CommitmentScp(["0213", "abort"])) as scp:
        async with waiting(tmp_path, scp) as house:
            for number in (1, 2):
                await house.until(lambda row, n=number: row.attempts == n and row.reason)
                await asyncio.sleep(0.1)
                house.clock.advance(2)
            await house.until(lambda row: row.state == "delivered")

    assert [(each.outcome, each.code) for each in house.attempts()] == [
        ("unknown", "0213"),  # it has the instances
        ("unknown", "aborted"),
        ("stored", "0000"),
    ]


@pytest.mark.parametrize(
    ("scp", "code"),
    [({"plan": ["0122"]}, "0122"), ({"commits": False}, "no context")],
    ids=["the request is refused", "the class is not accepted"],
)
async def test_a_pacs_without_storage_commitment_makes_a_dead_letter_that_says_the_remedy(
    tmp_path: Path, scp: dict[str, Any], code: str
) -> None:
    with committing(CommitmentScp(**scp)) as refusing:
        async with waiting(tmp_path, refusing) as house:
            row = await house.until(lambda row: row.state == "dead")

    assert "or set storage_commitment: false" in row.reason
    assert [(each.outcome, each.code) for each in house.attempts()] == [("refused", code)]
    assert sorted(row.stored) == sorted(refusing.stored)  # a retraction will know what is there
