"""What a peer's report, or its silence, means for a delivery that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from engine.model import CommitmentReport
from engine.store import commitments, deliveries, lanes
from engine.store.database import Database
from engine.store.tables import commitments as asked
from engine.store.tables import deliveries as table
from engine.store.tables import results, studies
from tests.engine.store.rows import result_row, study_row

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"
PARTS = ("1.2.3.1", "1.2.3.2")
HOUR = 3600.0


def studied(connection: Connection) -> None:
    """A study with a result to deliver."""
    connection.execute(insert(studies).values(study_row(site="stm")))
    connection.execute(insert(results).values(result_row()))


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.engine.connect() as opened:
        studied(opened)
        yield opened


def queue(connection: Connection, name: str = "a", **values: object) -> None:
    values = {
        "destination": "pacs",
        "order_key": "s/1.2",
        "lineage": "1/qc",
        "study_id": 1,
        "study_revision": 1,
        "result_id": "r1",
        "status": "final",
        "transform": [],
        "after": [],
    } | values
    lanes.enqueue(connection, 0, delivery_id=name, **values)
    manifest = [{"identifier": uid, "facts": {}, "media_type": "", "path": ""} for uid in PARTS]
    deliveries.keep_payload(connection, name, manifest)


def claim(connection: Connection, now: float) -> lanes.Claim:
    """Claim the head and register what its attempt will ask; its transaction is named after both."""
    (claimed,) = lanes.claim(connection, "pacs", "n1", now, 60, 9)
    uid = f"2.25.{claimed.attempt}"
    commitments.register(connection, uid, claimed.delivery.delivery_id, claimed.attempt, now, now + HOUR)
    return claimed


def stored(connection: Connection, claimed: lanes.Claim, now: float) -> None:
    lanes.settle(connection, [lanes.Settlement(claimed, "stored", "0000", stored=PARTS)], now)
    commitments.settle_reported(connection, claimed.delivery.delivery_id, now)


def waiting(connection: Connection, now: float = 1) -> None:
    """An attempt stored everything and asked."""
    stored(connection, claim(connection, now), now)


def report(number: int, *failed: tuple[str, int], committed: tuple[str, ...] | None = None) -> Any:
    denied = [uid for uid, _ in failed]
    if committed is None:
        committed = tuple(uid for uid in PARTS if uid not in denied)
    return CommitmentReport(
        f"2.25.{number}",
        tuple((SOP_CLASS, uid) for uid in committed),
        tuple((SOP_CLASS, uid, reason) for uid, reason in failed),
    )


def row(connection: Connection, name: str = "a") -> Any:
    return connection.execute(select(table).where(table.c.delivery_id == name)).one()


def test_stored_is_not_delivered_until_the_peer_has_committed(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    assert (row(connection).state, row(connection).stored) == ("waiting", list(PARTS))

    assert commitments.apply(connection, "stm", report(1), 5)

    assert (row(connection).state, row(connection).reason) == ("delivered", "stored and committed")
    assert row(connection).finished_at == 5


def test_what_goes_after_a_destination_goes_when_it_has_committed(connection: Connection) -> None:
    queue(connection)
    queue(connection, "oru", destination="ris", after=["pacs"])
    waiting(connection)
    assert row(connection, "oru").state == "waiting"
    assert lanes.claim(connection, "ris", "n1", 2, 60, 9) == []

    commitments.apply(connection, "stm", report(1), 5)

    assert [one.delivery.delivery_id for one in lanes.claim(connection, "ris", "n1", 5, 60, 9)] == ["oru"]


def test_while_one_waits_for_its_report_the_next_of_its_lane_goes_out(connection: Connection) -> None:
    queue(connection)
    queue(connection, "b", lineage="1/other")
    waiting(connection)

    assert [one.delivery.delivery_id for one in lanes.claim(connection, "pacs", "n1", 2, 60, 9)] == ["b"]


def test_what_was_denied_alone_is_sent_again_and_not_at_once(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    commitments.apply(connection, "stm", report(1, ("1.2.3.2", 0x0112)), 10)
    assert row(connection).state == "waiting"
    assert row(connection).stored == ["1.2.3.1"]
    assert "did not commit to 1 instances: 0112 (no such object instance)" in row(connection).reason

    assert commitments.expire(connection, 10 + commitments.BACKOFF[0] - 1) == 0
    assert commitments.expire(connection, 10 + commitments.BACKOFF[0]) == 1
    again = claim(connection, 80)

    assert again.delivery.stored == ["1.2.3.1"]
    stored(connection, again, 81)
    commitments.apply(connection, "stm", report(2), 82)
    assert row(connection).state == "delivered"


def test_what_is_denied_again_and_again_is_a_dead_letter_with_the_reasons(connection: Connection) -> None:
    queue(connection)
    now = 0.0
    for number in range(1, commitments.REFUSED_AFTER + 1):
        waiting(connection, now)
        commitments.apply(connection, "stm", report(number, ("1.2.3.1", 0x0119), ("1.2.3.2", 0x0110)), now)
        now += HOUR / 2
        commitments.expire(connection, now)

    assert row(connection).state == "dead"
    assert "0110 (processing failure), 0119 (class or instance conflict)" in row(connection).reason
    assert "denied 3 times" in row(connection).reason
    assert lanes.claim(connection, "pacs", "n1", now + HOUR, 60, 9) == []


def test_a_commitment_that_comes_late_brings_a_dead_letter_home(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    commitments.expire(connection, 2 * HOUR, {"pacs": HOUR})
    assert row(connection).state == "dead"
    assert "has not reported in time" in row(connection).reason

    commitments.apply(connection, "stm", report(1), 3 * HOUR)

    assert row(connection).state == "delivered"


def test_a_peer_that_is_silent_is_asked_again_without_sending_anything(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    assert commitments.expire(connection, HOUR) == 0
    assert commitments.expire(connection, 1 + HOUR, {"pacs": 72 * HOUR}) == 1

    assert claim(connection, 2 * HOUR).delivery.stored == list(PARTS)
    states = connection.execute(select(asked.c.state).order_by(asked.c.attempt)).scalars().all()
    assert states == ["expired", "requested"]


def test_a_report_on_an_overdue_request_still_counts(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    commitments.expire(connection, 2 * HOUR)  # queued again, nobody has claimed it yet
    commitments.apply(connection, "stm", report(1), 2 * HOUR + 1)

    assert row(connection).state == "delivered"
    assert lanes.claim(connection, "pacs", "n1", 3 * HOUR, 60, 9) == []


def test_a_report_that_overtakes_the_end_of_its_attempt_is_kept_for_it(connection: Connection) -> None:
    queue(connection)
    claimed = claim(connection, 1)
    commitments.apply(connection, "stm", report(1), 2)
    assert row(connection).state == "queued"

    stored(connection, claimed, 3)

    assert row(connection).state == "delivered"


def test_a_denial_that_overtakes_the_end_of_its_attempt_is_kept_for_it(connection: Connection) -> None:
    queue(connection)
    claimed = claim(connection, 1)
    commitments.apply(connection, "stm", report(1, ("1.2.3.1", 0x0112)), 2)
    stored(connection, claimed, 3)

    assert (row(connection).state, row(connection).stored) == ("waiting", ["1.2.3.2"])


def test_what_the_report_does_not_mention_is_not_committed(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    commitments.apply(connection, "stm", report(1, committed=("1.2.3.1",)), 2)

    assert (row(connection).state, row(connection).stored) == ("waiting", ["1.2.3.1"])
    assert "not in the report" in row(connection).reason


def test_a_report_of_another_site_or_on_nothing_we_asked_changes_nothing(connection: Connection) -> None:
    queue(connection)
    waiting(connection)

    assert not commitments.apply(connection, "another", report(1), 2)
    assert not commitments.apply(connection, "stm", report(77), 2)
    assert row(connection).state == "waiting"


def test_a_report_on_what_a_newer_version_replaced_changes_nothing(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    queue(connection, "b")
    assert row(connection).state == "superseded"

    assert commitments.apply(connection, "stm", report(1), 2)

    assert row(connection).state == "superseded"
    assert row(connection, "b").state == "queued"


def test_a_denial_after_the_commitment_does_not_take_it_back(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    commitments.apply(connection, "stm", report(1), 2)
    commitments.apply(connection, "stm", report(1, ("1.2.3.1", 0x0110)), 3)

    assert row(connection).state == "delivered"
    assert connection.execute(select(asked.c.state)).scalar_one() == "committed"


def test_after_a_replay_only_a_new_report_counts(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    commitments.apply(connection, "stm", report(1), 2)
    connection.execute(table.update().values(age_from=10, stored=None, transaction_uid=None))
    lanes.requeue(connection, [row(connection).seq], 10)
    waiting(connection, 11)
    assert row(connection).state == "waiting"

    commitments.apply(connection, "stm", report(2), 12)

    assert row(connection).state == "delivered"


def test_what_was_stored_counts_as_held_by_the_destination(connection: Connection) -> None:
    queue(connection)
    waiting(connection)
    (held,) = deliveries.held_by(connection, "pacs", "1/qc")
    assert held.certain


async def test_a_report_and_the_end_of_its_attempt_may_come_at_the_same_moment(database: Database) -> None:
    def prepare(connection: Connection) -> list[lanes.Claim]:
        for number in range(20):
            queue(connection, f"d{number}", order_key=f"s/{number}", lineage=f"1/{number}")
        claims = lanes.claim(connection, "pacs", "n1", 1, 60, 99)
        for number, claimed in enumerate(claims):
            commitments.register(connection, f"2.25.{number}", claimed.delivery.delivery_id, 1, 1, 1 + HOUR)
        return claims

    await database.write(studied)
    claims = await database.write(prepare)
    assert len(claims) == 20

    await asyncio.gather(
        *(database.write(partial(stored, claimed=claimed, now=2)) for claimed in claims),
        *(
            database.write(partial(commitments.apply, site="stm", report=report(number), now=2))
            for number in range(len(claims))
        ),
    )

    states = await database.read(lambda c: c.execute(select(table.c.state)).scalars().all())
    assert states == ["delivered"] * 20
