"""A running engine follows the active version, says what it runs, and what it could not take and why."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.active_table import activate
from engine.config import load
from engine.errors import ConfigurationError
from engine.live_table import AGAIN, LiveTable
from engine.store import table_versions
from engine.store.database import Database
from engine.table import Table
from engine.table_in_force import note_of
from tests.engine.conftest import HandClock

Write = Callable[..., Table]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """A function that writes a table for a site of this name, and reads it."""

    def write(name: str, *, path: str = "routes.yaml", http: str = "127.0.0.1:8080", more: str = "") -> Table:
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        site = f"{{name: {name}, addresses: [127.0.0.1], ae_titles: [A]}}"
        file.write_text(f'version: 1\nengine: {{http: "{http}"}}\nsites:\n  s: {site}\n{more}')
        return load(file, base=tmp_path)

    return write


class Engine:
    """What stands behind a live table: it takes whatever it is given, unless told why not."""

    def __init__(self, table: Table, database: Database, clock: HandClock) -> None:
        self.database, self.clock = database, clock
        self.taken: list[str] = []
        self.refuses: Exception | None = None
        self.tried = 0
        self.record(table, "started")
        self.live = LiveTable(table, table, database, clock, table.engine.data, "n1")

    @contextlib.asynccontextmanager
    async def exchanging(self, table: Table) -> AsyncIterator[None]:
        self.tried += 1
        if self.refuses is not None:
            raise self.refuses
        yield
        self.taken.append(table.version)

    async def look(self) -> None:
        await self.live.look(self.exchanging)

    def record(self, table: Table, action: str = "applied") -> str:
        files = dict(table.files)
        self.database.write_now(
            lambda c: table_versions.record_version(c, table.version, table.path.name, files, 1.0)
        )
        self.database.write_now(lambda c: activate(c, table.version, 1.0, actor="ann", action=action))
        return table.version

    def row(self) -> Any:
        [row] = self.database.read_now(lambda c: table_versions.engines_alive(c, 0.0))
        return row


@pytest.fixture
def engine(written: Write, sqlite_database: Database, clock: HandClock) -> Engine:
    return Engine(written("first"), sqlite_database, clock)


async def test_who_asks_no_database_is_told_too(engine: Engine, written: Write) -> None:
    given = engine.live.running
    version = engine.record(written("second", path="next/routes.yaml"))
    async with engine.live.following(engine.exchanging):
        await engine.look()
    assert json.loads(note_of(given.engine.data).read_text()) == {
        "given": given.version,
        "running": version,
        "main": "routes.yaml",
    }


async def test_it_takes_what_becomes_active_once_and_says_so(engine: Engine, written: Write) -> None:
    await engine.look()
    assert engine.row().table_version == engine.live.running.version
    version = engine.record(written("second", path="next/routes.yaml"))
    await engine.look()
    await engine.look()
    assert engine.taken == [version]
    assert (engine.row().table_version, engine.row().trouble) == (version, "")
    assert engine.live.measured() == {
        f'pons_table_info{{version="{version}"}}': 1.0,
        "pons_table_changes_total": 1.0,
        "pons_table_refused": 0.0,
    }


async def test_what_it_cannot_take_is_told_and_tried_again_after_a_while(
    engine: Engine, written: Write
) -> None:
    first = engine.live.running.version
    second = engine.record(written("second", path="next/routes.yaml"))
    engine.refuses = ConfigurationError("inbound.pacs.listen: 127.0.0.1:104 cannot be bound: in use")
    for _ in range(3):
        await engine.look()
    assert engine.tried == 1
    row = engine.row()
    assert (row.table_version, row.refused_version, row.trouble) == (first, second, str(engine.refuses))
    assert engine.live.measured()["pons_table_refused"] == 1
    third = engine.record(written("third", path="next/routes.yaml"))
    await engine.look()
    assert engine.row().refused_version == third, "for the same reason, and yet another table"
    second = third
    engine.refuses = None
    engine.clock.advance(AGAIN)
    await engine.look()
    assert engine.taken == [second]
    assert (engine.row().refused_version, engine.row().trouble) == ("", "")


async def test_a_defect_in_a_part_is_told_without_its_words(engine: Engine, written: Write) -> None:
    engine.record(written("second", path="next/routes.yaml"))
    engine.refuses = RuntimeError("whatever a plugin puts here")
    await engine.look()
    assert engine.row().trouble == "unexpected RuntimeError"
    assert engine.taken == []


async def test_a_version_that_is_taken_back_is_no_trouble_any_more(engine: Engine, written: Write) -> None:
    first = engine.live.running
    engine.record(written("second", path="next/routes.yaml"))
    engine.refuses = ConfigurationError("no")
    await engine.look()
    engine.record(first, "rolled back")
    await engine.look()
    assert engine.tried == 1
    assert (engine.row().table_version, engine.row().trouble) == (first.version, "")


async def test_a_kept_version_that_cannot_be_read_here_is_refused_with_every_finding(
    engine: Engine, written: Write
) -> None:
    bad = written("second", path="next/routes.yaml")
    files = {"routes.yaml": bad.files["routes.yaml"] + "rutes: []\ninbund: {}\n"}
    engine.database.write_now(
        lambda c: table_versions.record_version(c, "sha256:feedfeedfeed", "routes.yaml", files, 1.0)
    )
    engine.database.write_now(
        lambda c: activate(c, "sha256:feedfeedfeed", 1.0, actor="ann", action="applied")
    )
    await engine.look()
    assert engine.tried == 0
    assert [word in engine.row().trouble for word in ("rutes", "inbund")] == [True, True]


async def test_another_engine_that_was_started_with_settings_of_its_own_is_none_of_its_business(
    engine: Engine, written: Write
) -> None:
    other = written("second", path="next/routes.yaml", http="127.0.0.1:8081")
    engine.record(other, "started")
    for _ in range(2):
        await engine.look()
    assert (engine.tried, engine.row().trouble) == (0, "")
    engine.record(other, "applied")  # this time somebody wants it
    engine.refuses = ConfigurationError("engine.http: needs a restart of the engine to change")
    await engine.look()
    assert "engine.http" in engine.row().trouble


async def test_told_to_reload_it_takes_the_file_and_makes_it_active_for_all(
    engine: Engine, written: Write
) -> None:
    edited = written("edited")
    engine.live.reload()
    await engine.look()
    assert engine.taken == [edited.version]
    active = engine.database.read_now(table_versions.active)
    assert active is not None
    assert (active.version, active.action, active.actor) == (edited.version, "reloaded", "engine n1")


async def test_a_file_that_cannot_be_taken_is_not_made_active(engine: Engine, written: Write) -> None:
    first = engine.live.running
    written("edited")
    engine.refuses = ConfigurationError("no")
    engine.live.reload()
    await engine.look()
    active = engine.database.read_now(table_versions.active)
    assert active is not None
    assert active.version == first.version
    assert engine.row().trouble == "no"
    written("first")
    engine.live.reload()  # edited back: all is well
    await engine.look()
    assert (engine.row().trouble, engine.taken) == ("", [])


async def test_it_is_among_the_living_until_all_has_ended(engine: Engine) -> None:
    async with engine.live.following(engine.exchanging):
        assert engine.row().node == "n1"
    assert engine.row().node == "n1", "deliveries under way may be ending still"
    await engine.live.leave()
    assert engine.database.read_now(lambda c: table_versions.engines_alive(c, 0.0)) == []
