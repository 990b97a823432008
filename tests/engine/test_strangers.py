"""Who is turned away is counted at once and on the audit trail soon, however often they knock."""

from __future__ import annotations

from typing import Any

from engine.audit import verify
from engine.store.database import Database
from engine.store.tables import audit_events
from engine.strangers import MOST, Knock, Strangers

KNOCK = Knock("pacs", "calling_ae_title", "100.64.0.3", "A_MR", "PONS")


def trail(database: Database) -> list[Any]:
    assert database.read_now(verify) is None
    return list(database.read_now(lambda c: c.execute(audit_events.select()).all()))


async def test_a_thousand_knocks_are_one_event_that_says_so(database: Database, clock: Any) -> None:
    strangers = Strangers(database, clock)
    for _ in range(1000):
        strangers.note(KNOCK)
    await strangers.tell()
    await strangers.tell()
    (event,) = trail(database)
    assert (event.actor, event.action, event.subject) == ("100.64.0.3", "peer turned away", "inbound pacs")
    assert event.detail == {
        "unknown": "calling_ae_title",
        "calling_ae_title": "A_MR",
        "called_ae_title": "PONS",
        "times": 1000,
    }
    assert strangers.measured() == {
        'pons_peers_turned_away_total{inbound="pacs",unknown="calling_ae_title"}': 1000.0
    }


async def test_a_flood_from_everywhere_does_not_fill_the_trail(database: Database, clock: Any) -> None:
    strangers = Strangers(database, clock)
    for number in range(MOST * 3):
        strangers.note(Knock("pacs", "address", f"198.51.100.{number}"))
    await strangers.tell()
    events = trail(database)
    assert len(events) == MOST + 1
    assert sum(event.detail["times"] for event in events) == MOST * 3
