"""Lanes: order kept, one in flight, leases that end, fences that hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, insert, select, update

from engine.store import deliveries, lanes
from engine.store.database import Database
from engine.store.tables import attempts, results, studies
from engine.store.tables import deliveries as table
from engine.store.tables import lanes as lane_rows
from tests.engine.store.rows import result_row, study_row


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.engine.connect() as opened:
        opened.execute(insert(studies).values(study_row()))
        for number in range(1, 9):
            opened.execute(insert(results).values(result_row(result_id=f"r{number}", revision=number)))
        yield opened


def queue(connection: Connection, name: str, *, now: float = 0, **values: object) -> None:
    values = {
        "destination": "ris",
        "order_key": "s/1.2",
        "lineage": f"1/{name}",
        "study_id": 1,
        "study_revision": 1,
        "result_id": "r1",
        "status": "final",
        "transform": [],
        "after": [],
    } | values
    lanes.enqueue(connection, now, delivery_id=name, **values)


def claim(connection: Connection, now: float, owner: str = "n1", destination: str = "ris", limit: int = 9):
    return lanes.claim(connection, destination, owner, now, 60.0, limit)


def settle(connection: Connection, claimed: lanes.Claim, now: float, outcome: str, **said: object) -> bool:
    return bool(lanes.settle(connection, [lanes.Settlement(claimed, outcome, **said)], now))


def states(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(table.c.delivery_id, table.c.state).order_by(table.c.seq))
    return {row.delivery_id: row.state for row in rows}


def test_a_lane_has_one_delivery_in_flight_and_keeps_their_order(connection: Connection) -> None:
    for name in ("a", "b", "c"):
        queue(connection, name)
    order = []
    for now in range(3):
        (one,) = claim(connection, now)
        assert claim(connection, now) == []
        order.append(one.delivery.delivery_id)
        assert settle(connection, one, now, outcome="delivered", code="AA")
    assert order == ["a", "b", "c"]
    assert claim(connection, 99) == []
    assert connection.execute(select(lane_rows.c.pending)).scalar_one() == 0


def test_lanes_are_independent(connection: Connection) -> None:
    queue(connection, "a")
    queue(connection, "b", order_key="s/other")
    queue(connection, "c", destination="pacs")
    assert {one.delivery.delivery_id for one in claim(connection, 0)} == {"a", "b"}
    assert {one.delivery.delivery_id for one in claim(connection, 0, destination="pacs")} == {"c"}


def test_a_retry_waits_for_its_time_and_keeps_its_place(connection: Connection) -> None:
    queue(connection, "a")
    queue(connection, "b")
    (one,) = claim(connection, 0)
    settle(connection, one, 1, outcome="again", detail="refused", next_at=50)
    assert claim(connection, 49) == []
    (again,) = claim(connection, 50)
    assert (again.delivery.delivery_id, again.attempt) == ("a", 2)


def test_a_refused_delivery_is_dead_with_its_reason_and_frees_its_lane(connection: Connection) -> None:
    queue(connection, "a")
    queue(connection, "b")
    (one,) = claim(connection, 0)
    settle(connection, one, 1, outcome="refused", code="A900", detail="no such class")
    assert states(connection)["a"] == "dead"
    row = deliveries.of_study(connection, 1)[0]
    assert row.reason == "A900 no such class"
    (after,) = claim(connection, 1)
    assert after.delivery.delivery_id == "b"


def test_a_lease_that_ends_is_taken_over_and_the_fence_stops_the_first_owner(connection: Connection) -> None:
    queue(connection, "a")
    (first,) = claim(connection, 0, owner="n1")
    assert claim(connection, 59, owner="n2") == []
    (second,) = claim(connection, 60, owner="n2")
    assert second.attempt == 2
    assert not settle(connection, first, 61, outcome="delivered")
    assert states(connection)["a"] == "queued"
    assert settle(connection, second, 62, outcome="delivered")
    outcomes = connection.execute(select(attempts.c.outcome).order_by(attempts.c.attempt)).scalars().all()
    assert outcomes == ["delivered", "delivered"], "both attempts are on record"


def test_an_attempt_is_on_record_as_unknown_before_it_ends(connection: Connection) -> None:
    queue(connection, "a")
    claim(connection, 7)
    (row,) = deliveries.attempts_of(connection, "a")
    assert (row.outcome, row.started_at, row.ended_at) == ("unknown", 7, None)


def test_a_newer_version_supersedes_what_has_not_gone_out(connection: Connection) -> None:
    queue(connection, "preliminary", lineage="1/qc", status="preliminary")
    queue(connection, "final", lineage="1/qc")
    assert states(connection) == {"preliminary": "superseded", "final": "queued"}
    (one,) = claim(connection, 0)
    assert one.delivery.delivery_id == "final"
    settle(connection, one, 0, outcome="delivered")
    assert connection.execute(select(lane_rows.c.pending)).scalar_one() == 0


def test_a_blocked_preliminary_does_not_block_its_own_correction(connection: Connection) -> None:
    queue(connection, "preliminary", lineage="1/qc", status="preliminary")
    (one,) = claim(connection, 0)
    settle(connection, one, 1, outcome="again", next_at=9999)
    queue(connection, "final", lineage="1/qc", now=2)
    (next_one,) = claim(connection, 2)
    assert next_one.delivery.delivery_id == "final"


def test_one_that_is_in_flight_ends_before_its_correction_goes(connection: Connection) -> None:
    queue(connection, "final", lineage="1/qc")
    (one,) = claim(connection, 0)
    queue(connection, "corrected", lineage="1/qc", now=1)
    assert claim(connection, 1) == []
    settle(connection, one, 2, outcome="delivered")
    (next_one,) = claim(connection, 2)
    assert next_one.delivery.delivery_id == "corrected"
    deliveries.keep_payload(connection, "final", [])
    assert [row.delivery_id for row in deliveries.held_by(connection, "ris", "1/qc")] == ["final"]


def test_one_that_fails_in_flight_gives_way_to_its_correction(connection: Connection) -> None:
    queue(connection, "final", lineage="1/qc")
    (one,) = claim(connection, 0)
    queue(connection, "corrected", lineage="1/qc", now=1)
    settle(connection, one, 2, outcome="again", next_at=9999)
    assert states(connection) == {"final": "superseded", "corrected": "queued"}
    (next_one,) = claim(connection, 2)
    assert next_one.delivery.delivery_id == "corrected"


def test_after_waits_for_the_other_acknowledgement_and_is_woken_by_it(connection: Connection) -> None:
    queue(connection, "oru", after=["pacs"])
    queue(connection, "sr", destination="pacs")
    assert claim(connection, 0) == []
    assert claim(connection, 1e6) == [], "it does not come due by itself"
    (sr,) = claim(connection, 2, destination="pacs")
    settle(connection, sr, 3, outcome="again", next_at=4)
    assert claim(connection, 3) == []
    (sr,) = claim(connection, 4, destination="pacs")
    settle(connection, sr, 5, outcome="delivered")
    (oru,) = claim(connection, 5)
    assert oru.delivery.delivery_id == "oru"


def test_a_released_delivery_goes_out_again_at_once(connection: Connection) -> None:
    queue(connection, "a")
    (one,) = claim(connection, 0)
    lanes.release(connection, one, 1)
    (again,) = claim(connection, 1)
    assert again.attempt == 2


def test_at_start_no_lease_of_an_earlier_process_counts(connection: Connection) -> None:
    queue(connection, "a")
    claim(connection, 0, owner="dead")
    lanes.free_all(connection, 1)
    (again,) = claim(connection, 1, owner="new")
    assert again.delivery.delivery_id == "a"


def test_a_lane_that_waits_for_after_looks_again_after_a_restart(connection: Connection) -> None:
    queue(connection, "oru", after=["pacs"])
    queue(connection, "sr", destination="pacs")
    claim(connection, 0)
    (sr,) = claim(connection, 0, destination="pacs")
    # Acknowledged without a wake-up of the lane, as after a restore from a backup.
    connection.execute(update(table).where(table.c.delivery_id == "sr").values(state="delivered"))
    lanes.free_all(connection, 1)
    assert [one.delivery.delivery_id for one in claim(connection, 1)] == ["oru"], sr


def test_what_waits_for_a_destination_that_is_gone_is_counted(connection: Connection) -> None:
    queue(connection, "a")
    queue(connection, "b", destination="pacs")
    assert deliveries.stranded(connection, ["ris"]) == {"pacs": 1}
    assert deliveries.stranded(connection, ["ris", "pacs"]) == {}


def test_a_correction_waits_for_what_is_in_flight_under_an_order_key_that_has_changed(
    connection: Connection,
) -> None:
    queue(connection, "final", lineage="1/qc", order_key="s/wrong-patient")
    (one,) = claim(connection, 0)
    queue(connection, "corrected", lineage="1/qc", order_key="s/right-patient", now=1)
    assert claim(connection, 1) == []
    settle(connection, one, 2, outcome="delivered")
    (next_one,) = claim(connection, 2)
    assert next_one.delivery.delivery_id == "corrected"
    settle(connection, next_one, 3, outcome="delivered")
    queue(connection, "again", lineage="1/qc", order_key="s/right-patient", now=4)
    (last,) = claim(connection, 4)
    assert last.delivery.order_key == "s/right-patient", "what comes later goes by the new key"


def test_a_correction_leaves_nothing_behind_under_an_order_key_that_has_changed(
    connection: Connection,
) -> None:
    queue(connection, "final", lineage="1/qc", order_key="s/wrong-patient")
    queue(connection, "corrected", lineage="1/qc", order_key="s/right-patient", now=1)
    assert states(connection) == {"final": "superseded", "corrected": "queued"}
    assert [one.delivery.delivery_id for one in claim(connection, 1)] == ["corrected"]
    pending = connection.execute(
        select(lane_rows.c.pending).where(lane_rows.c.order_key == "s/wrong-patient")
    )
    assert pending.scalar_one() == 0


def test_what_is_sent_again_goes_at_its_old_place(connection: Connection) -> None:
    for name in ("a", "b", "c"):
        queue(connection, name)
    (one,) = claim(connection, 0)
    settle(connection, one, 1, outcome="refused")
    seq = connection.execute(select(table.c.seq).where(table.c.delivery_id == "a")).scalar_one()
    lanes.requeue(connection, [seq], 2)
    order = []
    for now in (3, 4, 5):
        (one,) = claim(connection, now)
        order.append((one.delivery.delivery_id, one.attempt))
        settle(connection, one, now, outcome="delivered")
    assert order == [("a", 2), ("b", 1), ("c", 1)]


def test_many_are_sent_again_in_whatever_lanes_they_are(connection: Connection) -> None:
    for number in range(6):
        queue(connection, f"d{number}", order_key=f"s/{number % 3}")
    for _ in range(2):
        refused = [lanes.Settlement(one, "refused") for one in claim(connection, 0)]
        lanes.settle(connection, refused, 0)
    assert set(states(connection).values()) == {"dead"}
    lanes.requeue(connection, connection.execute(select(table.c.seq)).scalars().all(), 1)
    assert [one.delivery.delivery_id for one in claim(connection, 1)] == ["d0", "d1", "d2"]


def test_a_batch_that_came_to_different_things_is_settled_at_once(connection: Connection) -> None:
    for name in ("ok", "later", "soon", "never", "committing", "lost"):
        queue(connection, name, order_key=f"s/{name}")
    queue(connection, "behind", order_key="s/never")
    claims = {one.delivery.delivery_id: one for one in claim(connection, 0)}
    lanes.release(connection, claims["lost"], 0)
    claim(connection, 0, owner="other")
    came_to = [
        lanes.Settlement(claims["ok"], "delivered", "AA"),
        lanes.Settlement(claims["later"], "again", "AE", next_at=70),
        lanes.Settlement(claims["soon"], "again", "timeout", next_at=50),
        lanes.Settlement(claims["never"], "refused", "AR", "no"),
        lanes.Settlement(claims["committing"], "stored", "0000", stored=("1.2",)),
        lanes.Settlement(claims["lost"], "delivered", "AA"),
    ]
    ours = lanes.settle(connection, came_to, 5)
    assert ours == {"ok", "later", "soon", "never", "committing"}
    assert states(connection) == {
        "ok": "delivered",
        "later": "queued",
        "soon": "queued",
        "never": "dead",
        "committing": "waiting",
        "lost": "queued",
        "behind": "queued",
    }
    rows = connection.execute(select(table.c.delivery_id, table.c.stored, table.c.reason)).all()
    assert {row.delivery_id: row.reason for row in rows if row.reason} == {
        "ok": "AA",
        "later": "AE",
        "soon": "timeout",
        "never": "AR no",
        "committing": "0000",
    }
    assert [row.stored for row in rows if row.delivery_id == "committing"] == [["1.2"]]
    assert [one.delivery.delivery_id for one in claim(connection, 5)] == ["behind"]
    assert [one.delivery.delivery_id for one in claim(connection, 50)] == ["soon"]
    unknown = connection.execute(select(table.c.delivery_id).where(table.c.stored.is_not(None))).scalars()
    assert list(unknown) == ["committing"], "nobody else is said to have anything"


def test_a_lane_that_turns_out_to_be_empty_is_not_looked_at_again(connection: Connection) -> None:
    queue(connection, "a")
    connection.execute(update(table).values(state="discarded"))
    assert claim(connection, 0) == []
    assert connection.execute(select(lane_rows.c.pending, lane_rows.c.owner)).one() == (0, None)


def test_what_was_rendered_first_is_what_every_attempt_sends(connection: Connection) -> None:
    queue(connection, "a")
    first, second = [{"path": "payloads/a/0-1.part"}], [{"path": "payloads/a/0-2.part"}]
    assert deliveries.keep_payload(connection, "a", first) == first
    assert deliveries.keep_payload(connection, "a", second) == first, "an engine that stalled meanwhile"
