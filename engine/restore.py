"""Bring a backup back: into an empty data folder, and into whichever database the table names.

Enter: a backup (see `engine.manifest`), the data folder and the database of a table, both empty. Leave:
what the next start goes on from. All of the backup is read and compared with its digests before anything
is laid down, and each file again as it is copied. The database comes last: a restore that was
interrupted leaves a folder without one, and is repeated into an empty folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, func, select

from engine.audit import append_event
from engine.clock import Clock, at
from engine.errors import PonsError
from engine.file_copy import copy_file, make_private, sync_file
from engine.manifest import DATA, DATABASE, BrokenBackup, Manifest, Progress, listed, verify
from engine.spool import fsync_folder
from engine.store.copy import copy_rows, is_empty
from engine.store.database import Database, open_database
from engine.store.lanes import OPEN
from engine.store.migrate import migrate, schema_of
from engine.store.sqlite import SqliteDatabase
from engine.store.tables import deliveries

LOCKS = ("engine.lock", "start.lock")


@dataclass(frozen=True, slots=True)
class Restored:
    """What was brought back, and what it means for receivers."""

    manifest: Manifest
    schema: str
    open_deliveries: dict[str, int]
    """Destination -> deliveries that were still to go out at the backup's instant."""


def restore(backup: Path, data: Path, url: URL, *, clock: Clock, actor: str, progress: Progress) -> Restored:
    """Bring a backup back.

    Args:
        url: where the database is to be; SQLite in ``data``, or an empty PostgreSQL database.
        actor: who does it, for the audit trail.

    Raises:
        BrokenBackup: it is not whole; nothing was written.
        PonsError: the data folder or the database is in use or not empty; nothing was written.
    """
    manifest = verify(backup, progress)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(data):
        held = sorted(path.name for path in data.iterdir() if path.name not in LOCKS)
        if held:
            raise PonsError(f"{data}: not empty ({held[0]} is there): restore into an empty data folder")
        if url.get_backend_name() != "sqlite":
            with _opened(url) as database:
                if not database.read_now(is_empty):
                    raise PonsError("the database holds records: restore into an empty one")
        _lay_files(backup, data, manifest, progress)
        copied = data / "restoring.sqlite"
        copy_file(backup / DATABASE, copied, DATABASE)
        record = partial(_record, manifest=manifest, backup=backup, clock=clock, actor=actor)
        with contextlib.closing(SqliteDatabase(copied)) as rows:
            migrate(rows.engine)  # a backup of an earlier release becomes one of this
            rows.write_now(record)
            schema = rows.read_now(schema_of)
            waiting = rows.read_now(_open_deliveries)
            if url.get_backend_name() != "sqlite":
                _move(rows, url, progress)
        if url.get_backend_name() == "sqlite":
            sync_file(copied)
            copied.rename(Path(url.database or ""))
        else:
            copied.unlink()
        fsync_folder(data)
    return Restored(manifest, schema or "", waiting)


def meaning(restored: Restored) -> list[str]:
    """What an operator must know before the engine starts again, a sentence a line."""
    manifest = restored.manifest
    taken = at(manifest.taken_at).isoformat(timespec="seconds")
    count = sum(restored.open_deliveries.values())
    lines = [
        f"restored {manifest.files} files as of {taken}",
        f"instances acknowledged after {taken} are not in it: their senders must send them again",
        f"results made after {taken} are made again: under the same identifiers where they come out the same",
        f"{count} deliveries were still to go out then: they go out at the next start",
        "receivers that have taken one of them since get it again, under the same identifiers",
    ]
    if manifest.missing:
        lines.append(f"{manifest.missing} files were missing already when the backup was made")
    return lines


def _lay_files(backup: Path, data: Path, manifest: Manifest, progress: Progress) -> None:
    done = 0
    for one in listed(backup):
        if one.absent:
            continue
        target = data / one.path
        make_private(target.parent)
        if copy_file(backup / DATA / one.path, target, one.path).sha256 != one.sha256:
            raise BrokenBackup(f"{backup / DATA / one.path}: was changed while it was copied")
        done += one.size
        progress("copying files", done, manifest.size)
    for folder, _, _ in os.walk(data):
        fsync_folder(Path(folder))


def _move(rows: Database, url: URL, progress: Progress) -> None:
    """All rows into an empty PostgreSQL database, in one transaction."""
    copied = 0

    def tick(_table: str, count: int) -> None:
        nonlocal copied
        copied += count
        progress("copying rows", copied, 0)

    with _opened(url) as target:
        migrate(target.engine)
        with rows.engine.connect() as source, target.engine.connect() as into, into.begin():
            if not is_empty(into):
                raise PonsError("the database holds records by now: restore into an empty one")
            copy_rows(source, into, tick)


def _record(connection: Connection, manifest: Manifest, backup: Path, clock: Clock, actor: str) -> None:
    append_event(
        connection,
        clock.now(),
        actor=actor,
        action="restored from a backup",
        subject=f"backup {backup.resolve().name}"[:200],
        detail={
            "taken at": at(manifest.taken_at).isoformat(),
            "files": manifest.files,
            "by": manifest.engine,
        },
    )


def _open_deliveries(connection: Connection) -> dict[str, int]:
    rows: Any = connection.execute(
        select(deliveries.c.destination, func.count().label("n"))
        .where(deliveries.c.state.in_(OPEN))
        .group_by(deliveries.c.destination)
        .order_by(deliveries.c.destination)
    )
    return {row.destination: row.n for row in rows}


@contextlib.contextmanager
def _opened(url: URL) -> Iterator[Database]:
    database = open_database(url)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def _alone(data: Path) -> Iterator[None]:
    """The data folder to ourselves: no engine runs on it, and none can start."""
    with contextlib.ExitStack() as stack:
        for name in reversed(LOCKS):  # in the order in which a start takes them
            lock = stack.enter_context((data / name).open("a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PonsError(f"{data}: an engine is running on it: stop it, or name another") from None
        yield
