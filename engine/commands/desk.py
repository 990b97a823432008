"""What the commands share: the door to the engine's database, the rows they print, who is asking.

They work beside the engine, running or not: reading changes nothing, and what is written is seen by a
running engine within seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table as Grid
from sqlalchemy import Connection
from typer.core import TyperGroup

from engine.config import Table, load
from engine.errors import PonsError
from engine.settings import parse_duration
from engine.store.database import Database, exists, locate, open_database
from engine.store.migrate import migrate
from wg.key import make_private_folder

T = TypeVar("T")

TablePath = Annotated[Path, typer.Option("--table", help="The routing table that names the data folder.")]
ExistingTable = Annotated[
    Path, typer.Option("--table", help="The routing table.", exists=True, dir_okay=False)
]
TableArgument = Annotated[Path, typer.Argument(help="The routing table.", exists=True, dir_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="Rows at most.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit trail; no patient data.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]
Since = Annotated[
    str | None,
    typer.Option(help="The earliest time: 2026-01-31, 2026-01-31T08:00 (of this machine), or 2h, 3d ago."),
]


class ListsByDefault(TyperGroup):
    """A group whose command `list` runs when none is named: `pons dead`, `pons hold --site …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` in front of what names no command."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@contextlib.contextmanager
def opened(table: Table) -> Iterator[Database]:
    """The database of a table; PonsError when there is none yet."""
    url = locate(table.engine)
    if not exists(url):
        raise PonsError(
            f"{url.database}: no database yet; start the engine with `pons run --table {table.path}` first"
        )
    database = open_database(url)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def founded(table: Table) -> Iterator[Database]:
    """The same, made where the engine has not run yet: people and clients may come before it."""
    make_private_folder(table.engine.data)
    database = open_database(locate(table.engine))
    try:
        migrate(database.engine)
        yield database
    finally:
        database.close()


def read(table: Path, work: Callable[[Connection], T]) -> T:
    """Run a query on the database of the table at a path; looking needs none of its other secrets."""
    with opened(load(table, surroundings=False)) as database:
        return database.read_now(work)


def write(table: Table, work: Callable[[Connection], T]) -> T:
    """Run a change in a transaction of its own."""
    with opened(table) as database:
        return database.write_now(work)


def show(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    """Rows as JSON or as a grid; a grid that is not on a terminal is never cut."""
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        typer.echo(nothing)
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    grid = Grid(box=None, pad_edge=False)
    for column in rows[0]:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(str(value) for value in row.values()))
    console.print(grid)


def moment(text: str | None, now: float, option: str) -> float | None:
    """The time that an option means, in seconds since 1970: a date, a time, or an age."""
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        return now - parse_duration(text)
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise typer.BadParameter(
            f"{text} is neither a time (2026-01-31T08:00) nor an age (2h, 3d)", param_hint=option
        ) from None


def who() -> str:
    """The user of the operating system, as the kernel knows it: an environment variable can lie."""
    number = os.getuid()
    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"
