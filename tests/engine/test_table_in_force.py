"""Who keeps the tunnels goes by the table that the engine runs, not by a file that nobody applied."""

from __future__ import annotations

from pathlib import Path

from engine.config import load
from engine.kept_table import lay_out
from engine.table import Table
from engine.table_in_force import note_of, table_in_force, write_note


def write(folder: Path, site: str, name: str = "routes.yaml") -> Path:
    """A table of one site, in a file."""
    path = folder / name
    path.write_text(
        f"version: 1\nengine: {{data: ./data}}\nsites:\n  {site}: {{name: S, addresses: [127.0.0.1]}}\n"
    )
    return path


def run(path: Path, applied: Path) -> Table:
    """What an engine leaves that was started with one file and then was given another."""
    given, table = load(path), load(applied)
    data = given.engine.data
    data.mkdir(exist_ok=True)
    lay_out(data / "tables" / table.version.rpartition(":")[2], table.path.name, dict(table.files))
    write_note(data, given=given.version, running=table)
    return table


def test_without_an_engine_it_is_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "north")
    assert table_in_force(path).version == load(path).version


def test_what_was_applied_is_in_force_while_the_file_is_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, "north")
    applied = run(path, write(tmp_path, "south", "next.yaml"))
    found = table_in_force(path)
    assert (found.version, list(found.sites)) == (applied.version, ["south"])
    assert (found.base, found.engine.data) == (tmp_path, load(path).engine.data), "paths start where they did"


def test_a_file_that_was_edited_since_speaks_for_itself(tmp_path: Path) -> None:
    path = write(tmp_path, "north")
    run(path, write(tmp_path, "south", "next.yaml"))
    write(tmp_path, "east")
    assert list(table_in_force(path).sites) == ["east"]


def test_a_note_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "north")
    run(path, write(tmp_path, "south", "next.yaml"))
    note = note_of(load(path).engine.data)
    assert note.stat().st_mode & 0o777 == 0o600
    for content in ("", "[]", "{}", '{"given": 1, "running": 2, "main": 3}'):
        note.write_text(content)
        assert list(table_in_force(path).sites) == ["north"]
