"""`pons audit`: the trail for people, and the proof that it is whole."""

from __future__ import annotations

import json

from sqlalchemy import update

from engine.audit import append_event
from engine.store.database import SqliteDatabase
from engine.store.tables import audit_events
from tests.engine.commands.desk_house import NOW, House


def fill(house: House, *, forge: bool = False) -> None:
    database = SqliteDatabase(house.folder / "data" / "pons.sqlite")
    for number, actor in enumerate(("ann (uid 1)", "ben (uid 2)", "ann (uid 1)")):
        database.write_now(
            lambda c, number=number, actor=actor: append_event(
                c,
                NOW + number,
                actor=actor,
                action="looked",
                subject=f"result {number}",
                detail={"n": number},
            )
        )
    if forge:
        database.write_now(
            lambda c: c.execute(update(audit_events).where(audit_events.c.id == 2).values(actor="nobody"))
        )
    database.close()


def test_the_trail_is_listed_the_newest_last_and_narrowed(house: House) -> None:
    assert house.run("audit") == "the audit trail is empty\n"
    fill(house)
    rows = json.loads(house.run("audit", "--json"))
    assert [(row["subject"], row["detail"]["n"]) for row in rows] == [
        ("result 0", 0),
        ("result 1", 1),
        ("result 2", 2),
    ]
    for arguments, ids in (
        (("--actor", "ben"), [2]),
        (("--subject", "result 2"), [3]),
        (("--limit", "2"), [2, 3]),
        (("--action", "nothing"), []),
        (("--since", "1h"), []),
        (("--until", "1h"), [1, 2, 3]),
    ):
        assert [row["id"] for row in json.loads(house.run("audit", *arguments, "--json"))] == ids, arguments
    assert "ben (uid 2)" in house.run("audit", "list")


def test_a_whole_chain_is_told(house: House) -> None:
    fill(house)
    assert house.run("audit", "verify") == "3 events, the chain is whole\n"


def test_a_forged_event_is_named_and_is_a_finding(house: House) -> None:
    fill(house, forge=True)
    assert "event 2 does not fit" in house.run("audit", "verify", expect=1)
    told = json.loads(house.run("audit", "verify", "--json", expect=1))
    assert told == {"events": 3, "whole": False, "broken_at": 2}
