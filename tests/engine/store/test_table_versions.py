"""Versions of the table: kept with their bytes, made active one after the other, taken by engines."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from engine.active_table import activate
from engine.store.database import Database
from engine.store.table_versions import (
    FORGOTTEN,
    active,
    beat,
    engines_alive,
    files_of,
    history,
    known,
    leave,
    record_version,
    unmoved,
    versions_like,
)

A, B = "sha256:aaaaaaaaaaaa", "sha256:abbbbbbbbbbb"
FILES = {"routes.yaml": "version: 1\ninclude: [sites/*.yaml]\n", "sites/münchen.yaml": "sites: {}\n"}


def test_a_version_is_kept_as_it_was_first_seen(database: Database) -> None:
    database.write_now(lambda c: record_version(c, A, "routes.yaml", FILES, 1.0))
    database.write_now(lambda c: record_version(c, A, "other.yaml", {"other.yaml": "…"}, 2.0))
    assert database.read_now(lambda c: files_of(c, A)) == ("routes.yaml", FILES)
    assert database.read_now(lambda c: (known(c, A), known(c, B))) == (True, False)
    with pytest.raises(LookupError, match=f"no version {B} of the table is on record"):
        database.read_now(lambda c: files_of(c, B))


def test_the_latest_change_names_the_active_one(database: Database) -> None:
    assert database.read_now(active) is None

    def work(c: Connection) -> list[int]:
        for version in (A, B):
            record_version(c, version, "routes.yaml", FILES, 1.0)
        return [
            activate(c, A, 1.0, actor="engine", action="started"),
            activate(c, B, 2.0, actor="ann", action="applied", message="the new scanner", forced=True),
            activate(c, A, 3.0, actor="ann", action="rolled back"),
        ]

    changes = database.write_now(work)
    assert changes == sorted(set(changes))
    latest = database.read_now(active)
    assert latest is not None
    assert (latest.version, latest.change_id, latest.action) == (A, changes[2], "rolled back")
    told = database.read_now(lambda c: history(c, 2))
    assert [(one.version, one.actor, one.message, one.forced) for one in told] == [
        (A, "ann", "", False),
        (B, "ann", "the new scanner", True),
    ]


def test_who_looked_before_another_change_is_told_so(database: Database) -> None:
    assert database.write_now(lambda c: unmoved(c, None))
    database.write_now(lambda c: record_version(c, A, "routes.yaml", FILES, 1.0))
    first = database.write_now(lambda c: activate(c, A, 1.0, actor="ann", action="applied"))
    assert database.write_now(lambda c: unmoved(c, first))
    assert not database.write_now(lambda c: unmoved(c, None))
    database.write_now(lambda c: activate(c, A, 2.0, actor="bob", action="applied"))
    assert not database.write_now(lambda c: unmoved(c, first))


def test_a_version_is_found_by_how_its_name_begins(database: Database) -> None:
    database.write_now(lambda c: record_version(c, A, "routes.yaml", FILES, 2.0))
    database.write_now(lambda c: record_version(c, B, "routes.yaml", FILES, 1.0))
    assert list(database.read_now(lambda c: versions_like(c, "a"))) == [B, A]
    assert list(database.read_now(lambda c: versions_like(c, "sha256:aa"))) == [A]
    assert list(database.read_now(lambda c: versions_like(c, "%"))) == []


def test_engines_tell_that_they_live_and_what_they_run(database: Database) -> None:
    database.write_now(lambda c: beat(c, "n2", 1.0, 10.0, A))
    database.write_now(lambda c: beat(c, "n1", 1.0, 11.0, A))
    database.write_now(lambda c: beat(c, "n2", 1.0, 15.0, A, B, "127.0.0.1:104 is taken"))
    rows = database.read_now(lambda c: engines_alive(c, 5.0))
    assert [(row.node, row.seen_at, row.refused_version, row.trouble) for row in rows] == [
        ("n1", 11.0, "", ""),
        ("n2", 15.0, B, "127.0.0.1:104 is taken"),
    ]
    assert [row.node for row in database.read_now(lambda c: engines_alive(c, 12.0))] == ["n2"]
    database.write_now(lambda c: leave(c, "n2"))
    assert [row.node for row in database.read_now(lambda c: engines_alive(c, 0.0))] == ["n1"]
    database.write_now(lambda c: beat(c, "n3", 1.0, 12.0 + FORGOTTEN, A))
    assert [row.node for row in database.read_now(lambda c: engines_alive(c, 0.0))] == ["n3"]
