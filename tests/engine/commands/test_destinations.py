"""`pons destinations`, `pause`, `resume`, and what `pons deliveries` says of what waits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from engine.breaker import Evidence
from engine.settings import Breaker
from engine.store import destinations, lanes, look
from engine.store.database import SqliteDatabase
from engine.store.tables import audit_events, deliveries
from tests.engine.commands.desk_house import NOW, RESULT, House


def change(house: House, work: Any) -> Any:
    database = SqliteDatabase(house.folder / "data" / "pons.sqlite")
    try:
        return database.write_now(work)
    finally:
        database.close()


def queue(connection: Connection, name: str, to: str, **more: Any) -> None:
    values = {
        "destination": to, "order_key": name, "lineage": f"1/{name}", "study_id": 1, "study_revision": 1,
        "result_id": RESULT, "status": "final", "transform": [], "after": [],
    } | more  # fmt: skip
    lanes.enqueue(connection, NOW, delivery_id=name, **values)


def rows(house: House, *command: str) -> dict[str, dict[str, Any]]:
    found = json.loads(house.run(*command, "--json"))
    return {row.get("delivery") or row["destination"]: row for row in found}


def opened(connection: Connection) -> None:
    policy = Breaker(failures=1)
    destinations.judge(connection, "ris", policy, Evidence.FAILED, NOW, probe=False)


def test_each_destination_is_shown_with_what_lies_there(house: House) -> None:
    change(house, lambda c: destinations.acknowledged(c, "desk", NOW))
    shown = rows(house, "destinations")

    assert {name: (row["state"], row["dead"], row["queued"]) for name, row in shown.items()} == {
        "ris": ("open", 2, 0),
        "desk": ("open", 0, 0),
        "old": ("unknown", 1, 0),
    }
    assert shown["desk"]["acknowledged"] == "2023-11-14T22:13:20+00:00"


def test_pausing_and_resuming_are_shown_and_on_record(house: House) -> None:
    house.run("pause", "ris", "--reason", "moves house")
    row = rows(house, "destinations")["ris"]
    assert (row["state"], row["why"].endswith("moves house")) == ("paused", True)
    assert "paused already" in house.refused("pause", "ris", "--reason", "again")

    house.run("resume", "ris")
    assert rows(house, "destinations")["ris"]["state"] == "open"
    assert "nothing to resume" in house.refused("resume", "ris")
    trail = change(house, lambda c: c.execute(select(audit_events.c.action, audit_events.c.detail)).all())
    assert [(row.action, row.detail["reason"]) for row in trail] == [
        ("destination paused", "moves house"),
        ("destination resumed", ""),
    ]


def test_a_destination_that_the_table_does_not_have_is_named_with_those_it_has(house: House) -> None:
    said = house.refused("pause", "rsi", "--reason", "typo")

    assert "no destination rsi; there are: ris, desk" in said


def test_one_that_is_down_says_when_it_is_tried(house: House) -> None:
    change(house, opened)
    row = rows(house, "destinations")["ris"]

    assert row["state"] == "breaker"
    assert row["why"] == "down after 1 failures in a row; one delivery tries at 2023-11-14T22:13:50+00:00"
    house.run("resume", "ris", "--reason", "cable is back")


def test_in_its_window_it_says_until_when(house: House) -> None:
    table = house.folder / "routes.yaml"
    open_at = datetime.now(UTC) + timedelta(hours=6)  # its one open minute, far from now
    windows = f'["daily {open_at + timedelta(minutes=1):%H:%M}-{open_at:%H:%M}"]'
    table.write_text(table.read_text().replace("port: 2575", f"port: 2575, maintenance: {windows}"))

    assert rows(house, "destinations")["ris"]["state"] == "maintenance"


def test_a_delivery_says_what_it_waits_for(house: House) -> None:
    def fill(connection: Connection) -> None:
        queue(connection, "q-1", "desk")
        queue(connection, "q-2", "desk", order_key="q-1")
        queue(connection, "w-1", "desk", after=["ris"])
        queue(connection, "w-2", "desk", after=["other"])
        queue(connection, "w-3", "desk")
        asked = {"state": "waiting", "transaction_uid": "1.2.9"}
        connection.execute(update(deliveries).where(deliveries.c.delivery_id == "w-3").values(**asked))

    change(house, fill)
    said = {name: row["waits"] for name, row in rows(house, "deliveries").items()}

    assert said["q-1"] == "due"
    assert said["q-2"] == "behind an earlier delivery of its lane"
    assert said["w-1"] == "waits for ris, which is a dead letter"
    assert said["w-2"] == "waits for other"
    assert said["w-3"] == "stored; waits for the peer's word that it has committed"
    assert said["d-4"] == ""
    house.run("pause", "desk", "--reason", "upgrade")
    assert rows(house, "deliveries")["q-1"]["waits"].endswith("upgrade")
    assert "which is a dead letter" in house.run("trace", "1.2.3")


def test_metrics_name_what_an_alert_is_made_of(house: House) -> None:
    def fill(connection: Connection) -> dict[str, float]:
        opened(connection)
        queue(connection, "w-1", "desk", after=["ris"])
        return look.metrics(connection, ["ris", "desk"], NOW + 60)

    samples = change(house, fill)

    assert samples['pons_destination_circuit_open{destination="ris"}'] == 1
    assert samples['pons_destination_paused{destination="ris"}'] == 0
    assert samples['pons_destination_oldest_seconds{destination="desk"}'] == 60
    assert samples['pons_destination_waiting_for_dead{destination="desk"}'] == 1
    assert samples['pons_deliveries{destination="ris",state="dead"}'] == 2
