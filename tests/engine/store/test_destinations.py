"""The row of a destination: its circuit, its pace, its pause, obeyed by whoever claims."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, insert, select

from engine.breaker import CLOSED, HALF_OPEN, OPEN, Circuit, Evidence
from engine.pause import pause, resume
from engine.settings import Breaker
from engine.store import destinations, lanes
from engine.store.database import Database
from engine.store.lanes import Settlement
from engine.store.tables import audit_events, studies
from engine.store.tables import destinations as rows
from engine.store.tables import lanes as lane_rows
from tests.engine.store.rows import study_row

POLICY = Breaker(failures=2, open_for="10s", cap="40s")


def queue(
    connection: Connection, name: str, *, key: str | None = None, to: str = "ris", **more: object
) -> None:
    values = {
        "destination": to, "order_key": key or name, "lineage": f"1/{name}", "study_id": 1,
        "study_revision": 1, "result_id": None, "status": "study", "transform": [], "after": [],
    } | more  # fmt: skip
    lanes.enqueue(connection, 0.0, delivery_id=name, **values)


@pytest.fixture
def filled(database: Database) -> Database:
    """Twenty deliveries to `ris`, each in its own lane."""

    def fill(connection: Connection) -> None:
        connection.execute(insert(studies).values(study_row()))
        for number in range(20):
            queue(connection, f"d-{number:02}")

    database.write_now(fill)
    return database


@pytest.fixture
def connection(filled: Database) -> Iterator[Connection]:
    with filled.engine.connect() as opened:
        yield opened


def claim(connection: Connection, now: float, limit: int = 4, rate: float | None = None):
    return destinations.claim(connection, "ris", "n1", now, 60.0, limit, rate)


def fail(connection: Connection, now: float, *, probe: bool = False) -> None:
    """One delivery goes out and gets no answer."""
    (one,), was_probe = claim(connection, now, limit=1)
    assert was_probe is probe
    lanes.settle(connection, [Settlement(one, "again", "connection", next_at=now + 900)], now)
    destinations.judge(connection, "ris", POLICY, Evidence.FAILED, now, probe=probe)


def circuit(connection: Connection) -> Circuit:
    return destinations.standing(connection, "ris").circuit


def row_count(connection: Connection) -> int:
    return len(connection.execute(select(rows)).all())


def test_a_destination_without_trouble_has_no_row_and_needs_none(connection: Connection) -> None:
    claims, probe = claim(connection, 1.0)
    destinations.judge(connection, "ris", POLICY, Evidence.ANSWERED, 1.0, probe=False)

    assert (len(claims), probe, row_count(connection)) == (4, False, 0)


def test_down_it_is_probed_by_one_delivery_at_a_time(connection: Connection) -> None:
    fail(connection, 1.0)
    fail(connection, 1.0)

    assert circuit(connection) == Circuit(OPEN, 2, opened_at=1.0, probe_at=11.0, openings=1)
    assert claim(connection, 10.9) == ([], False)
    claims, probe = claim(connection, 11.0)
    assert (len(claims), probe) == (1, True)
    assert claim(connection, 12.0) == ([], False), "while that one tries"
    assert destinations.standing(connection, "ris").look_again_at(None, 12.0) == 71.0, "its lease"


def test_a_probe_of_a_process_that_died_makes_way_when_its_lease_ends(connection: Connection) -> None:
    fail(connection, 1.0)
    fail(connection, 1.0)
    claim(connection, 11.0)
    destinations.extend_probe(connection, "ris", 90.0)

    assert claim(connection, 71.0) == ([], False), "it was renewed"
    assert claim(connection, 90.0)[1]


def test_a_probe_that_fails_makes_the_wait_longer(connection: Connection) -> None:
    fail(connection, 1.0)
    fail(connection, 1.0)
    fail(connection, 11.0, probe=True)
    fail(connection, 31.0, probe=True)

    assert circuit(connection) == Circuit(OPEN, 4, opened_at=1.0, probe_at=71.0, openings=3)


def test_an_answer_lets_all_that_waited_go_at_once(connection: Connection) -> None:
    fail(connection, 1.0)
    fail(connection, 1.0)
    (one,), probe = claim(connection, 11.0)
    lanes.settle(connection, [Settlement(one, "delivered")], 12.0)
    change = destinations.judge(connection, "ris", POLICY, Evidence.ANSWERED, 12.0, probe=probe)

    assert change is not None
    assert (change[0].state, change[1]) == (HALF_OPEN, Circuit())
    assert len(claim(connection, 12.0, limit=99)[0]) == 19, "those in backoff until 901, too"


def test_what_is_under_way_elsewhere_keeps_its_lease_when_the_circuit_closes(connection: Connection) -> None:
    fail(connection, 1.0)
    claims, _ = claim(connection, 1.0, limit=3)
    fail(connection, 1.0)
    destinations.judge(connection, "ris", POLICY, Evidence.ANSWERED, 2.0, probe=False)
    leased = select(lane_rows.c.due_at).where(lane_rows.c.owner.is_not(None))

    assert len(claims) == 3
    assert set(connection.execute(leased).scalars()) == {61.0}
    assert circuit(connection).state == CLOSED


def test_the_start_of_the_only_engine_forgets_a_probe_under_way(connection: Connection) -> None:
    fail(connection, 1.0)
    fail(connection, 1.0)
    claim(connection, 11.0)
    destinations.free_probes(connection, 12.0)

    assert claim(connection, 12.0)[1]


def test_no_more_begin_than_the_rate_allows_and_what_is_not_taken_stays_free(connection: Connection) -> None:
    begun = [len(claim(connection, 100 + tick / 20, rate=2.0)[0]) for tick in range(60)]

    assert 6 <= sum(begun) <= 7, "three seconds at two a second, and the first at once"
    assert max(begun) == 1
    assert claim(connection, 100.0 + 2.9, rate=2.0) == ([], False)
    again_at = destinations.standing(connection, "ris").look_again_at(2.0, 102.9)
    assert again_at is not None
    assert 102.9 < again_at <= 103.5, "the next slot"


def test_a_slot_is_not_spent_where_nothing_is_due(connection: Connection) -> None:
    for now in (1.0, 2.0, 3.0):
        destinations.claim(connection, "idle", "n1", now, 60.0, 4, 0.1)
    queue(connection, "late", to="idle")

    assert len(destinations.claim(connection, "idle", "n1", 4.0, 60.0, 4, 0.1)[0]) == 1


def test_paused_it_takes_nothing_until_resumed_and_both_are_on_record(connection: Connection) -> None:
    assert pause(connection, "ris", actor="ann (uid 7)", reason="moves house", now=5.0)
    assert not pause(connection, "ris", actor="bob (uid 8)", reason="too", now=6.0)

    assert claim(connection, 7.0) == ([], False)
    standing = destinations.standing(connection, "ris")
    assert (standing.paused_by, standing.pause_reason) == ("ann (uid 7)", "moves house")
    assert standing.look_again_at(None, 7.0) is None
    assert resume(connection, "ris", actor="bob (uid 8)", reason="", now=8.0)
    assert not resume(connection, "ris", actor="bob (uid 8)", reason="", now=9.0)
    assert len(claim(connection, 9.0)[0]) == 4
    trail = connection.execute(
        select(audit_events.c.action, audit_events.c.actor, audit_events.c.subject)
    ).all()
    assert [tuple(row) for row in trail] == [
        ("destination paused", "ann (uid 7)", "ris"),
        ("destination resumed", "bob (uid 8)", "ris"),
    ]


def test_resuming_one_that_is_down_has_it_probed_at_once(connection: Connection) -> None:
    fail(connection, 1.0)
    fail(connection, 1.0)

    assert resume(connection, "ris", actor="ann", reason="cable is back", now=2.0)
    assert claim(connection, 2.0)[1]


def test_an_acknowledgement_is_noted_once_in_a_while(connection: Connection) -> None:
    def last() -> float | None:
        return destinations.standing(connection, "ris").last_acknowledged_at

    seen = []
    for now in (100.0, 101.0, 104.9, 105.1):
        destinations.acknowledged(connection, "ris", now)
        seen.append(last())

    assert seen == [100.0, 100.0, 100.0, 105.1]


def test_numbers_count_what_has_not_gone_out(connection: Connection) -> None:
    (one, two), _ = claim(connection, 1.0, limit=2)
    lanes.settle(connection, [Settlement(one, "refused", "AR"), Settlement(two, "delivered")], 1.0)
    queue(connection, "held", after=["pacs"])

    assert destinations.numbers(connection) == {
        "ris": destinations.Numbers(queued=18, waiting=1, dead=1, oldest_at=0.0)
    }


def test_what_waits_for_a_dead_letter_is_named_until_that_is_delivered(connection: Connection) -> None:
    queue(connection, "image", to="pacs")
    queue(connection, "report", after=["pacs"])
    (one,) = lanes.claim(connection, "pacs", "n1", 1.0, 60.0, 1)
    lanes.settle(connection, [Settlement(one, "refused", "A900")], 1.0)

    (blocked,) = destinations.waits_for_the_dead(connection)
    assert (blocked.destination, blocked.blocker, blocked.state) == ("ris", "pacs", "dead")
    lanes.requeue(connection, [one.delivery.seq], 2.0)
    assert destinations.waits_for_the_dead(connection) == []
    (again,) = lanes.claim(connection, "pacs", "n1", 2.0, 60.0, 1)
    lanes.settle(connection, [Settlement(again, "delivered")], 3.0)
    due, _ = claim(connection, 3.0, limit=99)
    assert "report" in {one.delivery.delivery_id for one in due}


def test_several_that_claim_at_once_keep_one_rate_and_send_one_probe(filled: Database) -> None:
    begun: list[int] = []
    probes: list[bool] = []
    lock = threading.Lock()

    def claim_all(number: int) -> None:
        for tick in range(20):
            claims, _ = filled.write_now(
                lambda c, tick=tick: destinations.claim(c, "ris", f"n{number}", 100 + tick / 10, 60.0, 4, 2.0)
            )
            with lock:
                begun.append(len(claims))

    def probe(number: int) -> None:
        _, was = filled.write_now(lambda c: destinations.claim(c, "ris", f"n{number}", 500.0, 60.0, 4))
        with lock:
            probes.append(was)

    _together(claim_all)
    assert sum(begun) <= 2 * (1.9 + 0.1) + 1
    for now in (200.0, 201.0):
        filled.write_now(
            lambda c, now=now: destinations.judge(c, "ris", POLICY, Evidence.FAILED, now, probe=False)
        )
    _together(probe)
    assert sorted(probes) == [False] * 7 + [True]


def _together(work) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
