"""`pons backup`, `backup verify`, `restore`: the way to a safe copy, and back.

A backup is made beside a running engine. `pons backup TARGET` is short for `pons backup make TARGET`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from engine import manifest
from engine.backup import back_up
from engine.clock import SteadyClock, at
from engine.commands.desk import AsJson, TablePath, opened, who
from engine.config import load
from engine.errors import PonsError
from engine.manifest import Manifest
from engine.restore import meaning
from engine.restore import restore as bring_back
from engine.store.database import locate

BackupPath = Annotated[Path, typer.Argument(help="The folder of a backup.", metavar="BACKUP")]


class _MakesByDefault(TyperGroup):
    """What is no command of the group is where the backup goes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `make` before arguments that name no command."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["make", *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=_MakesByDefault, help="Back up: TARGET, or verify BACKUP.", no_args_is_help=True)
    group.command("make")(make)
    group.command("verify")(verify)
    app.add_typer(group, name="backup")
    app.command("restore")(restore)


def make(
    target: Annotated[Path, typer.Argument(help="Folder to make: not there yet, or empty.")],
    table: TablePath = Path("routes.yaml"),
    previous: Annotated[
        Path | None, typer.Option(help="An earlier backup; its unchanged files are linked, not copied.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Share files with the data folder where the file system can.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Back up the database and every file it names, beside a running engine."""
    loaded = load(table, surroundings=False)
    with opened(loaded) as database, _bar() as progress:
        made = back_up(
            database,
            loaded.engine.data,
            target,
            table=loaded.version,
            clock=SteadyClock(),
            actor=who(),
            progress=progress,
            previous=previous,
            link=link,
        )
    _tell(made, as_json)
    if made.missing:
        raise PonsError(
            f"{target}: the backup is complete but for {made.missing} files that records name and the data"
            f" folder does not have: they are the lines with `missing` in {target / manifest.FILES}"
        )


def verify(backup: BackupPath, as_json: AsJson = False) -> None:
    """Read a whole backup and compare it with its manifest; exit 1 when it is not whole."""
    with _bar() as progress:
        found = manifest.verify(backup, progress)
    _tell(found, as_json)


def restore(
    backup: BackupPath,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Bring a backup back into the empty data folder and database of a table."""
    loaded = load(table, surroundings=False)
    with _bar() as progress:
        done = bring_back(
            backup,
            loaded.engine.data,
            locate(loaded.engine),
            clock=SteadyClock(),
            actor=who(),
            progress=progress,
        )
    gone = [name for name in done.open_deliveries if name not in loaded.outbound]
    if as_json:
        facts = {"schema": done.schema, "open_deliveries": done.open_deliveries, "not in the table": gone}
        typer.echo(json.dumps(asdict(done.manifest) | facts, indent=2))
        return
    for line in meaning(done):
        typer.echo(line)
    for name in gone:
        typer.echo(f"destination {name} is not in {table}: its deliveries wait until it is, or are discarded")
    typer.echo(f"start with `pons run --table {table}`")


def _tell(found: Manifest, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    for key, value in (
        ("taken", at(found.taken_at).isoformat(timespec="seconds")),
        ("files", f"{found.files}, {found.size / 1e9:.3f} GB"),
        ("database", f"schema {found.schema}, {found.database_size / 1e6:.1f} MB"),
        ("made by", f"pons {found.engine}, table {found.table}"),
        ("left out", f"{found.removed} removed by retention meanwhile, {found.missing} missing"),
    ):
        typer.echo(f"{key + ':':12}{value}")


@contextlib.contextmanager
def _bar() -> Iterator[manifest.Progress]:
    """A bar on standard error for people; nothing where nobody watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:14}"), BarColumn(), TextColumn("{task.fields[done]}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total or None, done="")
            told = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else f"{done:,}"
            bar.update(tasks[what], completed=done, total=total or None, done=told)

        yield progress
