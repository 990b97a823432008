"""Which table an engine starts with: the file, unless something was applied since it was edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.active_table import activate
from engine.config import load
from engine.errors import ConfigurationError
from engine.first_table import table_to_run
from engine.store import table_versions
from engine.store.database import Database
from engine.table import Table

Write = Callable[..., Table]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """A function that writes the table's file anew and reads it."""

    def write(name: str, *, data: str = "./data", name_of_file: str = "routes.yaml") -> Table:
        path = tmp_path / name_of_file
        site = f"  s: {{name: {name}, addresses: [127.0.0.1], ae_titles: [A]}}"
        path.write_text(f"version: 1\nengine: {{data: {data}}}\nsites:\n{site}\n")
        return load(path)

    return write


async def run(database: Database, given: Table) -> Table:
    return await table_to_run(given, database, given.engine.data, 10.0, "n1")


def apply(database: Database, table: Table, action: str = "applied") -> None:
    files = dict(table.files)
    database.write_now(lambda c: table_versions.record_version(c, table.version, table.path.name, files, 5.0))
    database.write_now(lambda c: activate(c, table.version, 5.0, actor="a person", action=action))


def actions(database: Database) -> list[tuple[str, str]]:
    changes = database.read_now(lambda c: table_versions.history(c, 100))
    return [(one.action, one.version) for one in reversed(changes)]


async def test_the_first_table_of_a_database_becomes_the_active_one_and_stays_it(
    database: Database, written: Write
) -> None:
    table = written("one")
    for _ in range(2):
        assert (await run(database, table)) is table
    assert actions(database) == [("started", table.version)]


async def test_an_edited_file_becomes_the_active_one(database: Database, written: Write) -> None:
    first = written("one")
    await run(database, first)
    second = written("two")
    assert (await run(database, second)) is second
    assert actions(database) == [("started", first.version), ("started", second.version)]


@pytest.mark.parametrize("action", ["applied", "reloaded", "rolled back"])
async def test_what_was_applied_since_runs_in_place_of_a_file_that_was_not_edited(
    database: Database, written: Write, action: str
) -> None:
    applied = written("applied")
    apply(database, applied, action)
    given = written("one")
    files = dict(given.files)
    database.write_now(lambda c: table_versions.record_version(c, given.version, "routes.yaml", files, 5.0))
    table = await run(database, given)
    assert (table.version, table.sites["s"].name) == (applied.version, "applied")
    assert (table.base, table.engine.data) == (given.base, given.engine.data), "paths start where they did"
    assert actions(database) == [(action, applied.version)]


async def test_of_files_that_engines_were_merely_started_with_each_runs_its_own(
    database: Database, written: Write
) -> None:
    first, second = written("one"), written("two")
    for table in (first, second, first):
        assert (await run(database, table)) is table
    assert [version for _, version in actions(database)] == [first.version, second.version, first.version]


async def test_an_active_table_that_cannot_run_here_is_named_with_its_findings(
    database: Database, written: Write, tmp_path: Path
) -> None:
    first = written("one")
    await run(database, first)
    applied = written("two")
    broken = {"routes.yaml": applied.files["routes.yaml"] + "rutes: []\n"}
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "routes.yaml").write_text(broken["routes.yaml"])
    version = "sha256:0123456789ab"
    database.write_now(lambda c: table_versions.record_version(c, version, "routes.yaml", broken, 5.0))
    database.write_now(lambda c: activate(c, version, 5.0, actor="a person", action="applied"))
    with pytest.raises(ConfigurationError, match="rutes"):
        await run(database, first)


async def test_an_active_table_that_keeps_its_data_elsewhere_is_not_run_on_this_data(
    database: Database, written: Write
) -> None:
    given = written("one")
    await run(database, given)
    apply(database, written("two", data="./elsewhere", name_of_file="next.yaml"))
    with pytest.raises(ConfigurationError, match="keeps its data elsewhere"):
        await run(database, given)
