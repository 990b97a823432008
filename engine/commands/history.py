"""`pons history list | show | diff`: which tables ran, since when, who wanted it and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from sqlalchemy import Connection

from engine.commands.desk import AsJson, Limit, ListsByDefault, TablePath
from engine.commands.desk import show as show_rows
from engine.errors import PonsError
from engine.plan_story import change_as_data
from engine.proposal import database_of, place_of
from engine.store import table_versions
from engine.store.table_versions import ActiveTable
from engine.table_history import difference_in_lines, kept_version

T = TypeVar("T")

Version = Annotated[str, typer.Argument(help="As much of a version as tells it from the others.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=ListsByDefault, help="Versions of the table: list (by default), show, diff.")
    group.command("list")(list_changes)
    group.command("show")(show_version)
    group.command("diff")(diff_versions)
    app.add_typer(group, name="history")


def list_changes(table: TablePath = Path("routes.yaml"), limit: Limit = 50, as_json: AsJson = False) -> None:
    """Every change of the running table, the latest first: the first of them runs."""
    changes: list[ActiveTable] = _read(table, lambda c: table_versions.history(c, limit))
    rows = [change_as_data(change) for change in changes]
    if not as_json:
        rows = [{**row, "forced": "yes" if row["forced"] else ""} for row in rows]
    show_rows(rows, as_json, "no table has run here yet")


def show_version(
    version: Version,
    file: Annotated[str | None, typer.Argument(help="One of its files, whole.")] = None,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """The files of a version, or the text of one of them."""
    named, main, files = _read(table, lambda c: kept_version(c, version))
    if file is not None:
        if file not in files:
            raise PonsError(f"{named} has no file {file}; it has {', '.join(files)}")
        typer.echo(files[file], nl=False)
    elif as_json:
        typer.echo(json.dumps({"version": named, "main": main, "files": files}, indent=2))
    else:
        for name, text in files.items():
            typer.echo(f"{name}  {text.count(chr(10))} lines")


def diff_versions(
    old: Version,
    new: Annotated[str | None, typer.Argument(help="Another version; the running one when absent.")] = None,
    table: TablePath = Path("routes.yaml"),
) -> None:
    """The difference of two versions, line by line."""
    before, after = _read(table, lambda c: (kept_version(c, old), kept_version(c, new)))
    for line in difference_in_lines(before, after):
        typer.echo(line)


def _read(table: Path, work: Callable[[Connection], T]) -> T:
    with database_of(place_of(table)) as database:
        if database is None:
            raise PonsError(f"no engine has run here yet; start it with `pons run --table {table}` first")
        return database.read_now(work)
