"""A version of the table becomes the running one, on the audit trail."""

from __future__ import annotations

from sqlalchemy import Connection

from engine.active_table import activate
from engine.audit import verify
from engine.store import trail
from engine.store.database import Database
from engine.store.table_versions import record_version

A, B = "sha256:aaaaaaaaaaaa", "sha256:abbbbbbbbbbb"
FILES = {"routes.yaml": "version: 1\n"}


def test_a_change_is_an_event_of_the_audit_trail(database: Database) -> None:
    def work(c: Connection) -> None:
        for version in (A, B):
            record_version(c, version, "routes.yaml", FILES, 1.0)
        activate(c, A, 1.0, actor="engine", action="started")
        activate(c, B, 2.0, actor="ann", action="applied", message="the new scanner")

    database.write_now(work)
    events = database.read_now(
        lambda c: trail.list_events(
            c, action="table applied", actor=None, subject=None, since=None, until=None, limit=9
        )
    )
    ((subject, actor, detail),) = [(one.subject, one.actor, one.detail) for one in events]
    assert (subject, actor, detail["before"]) == (f"table {B}", "ann", A)
    assert detail["message"] == "the new scanner"
    assert database.read_now(verify) is None
