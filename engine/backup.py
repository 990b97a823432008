"""Make a backup beside a running engine: one instant of the database, and every file that it names.

Enter: the database, the data folder, a target that is empty or not there. Leave: a backup (see
`engine.manifest`) of which every byte and name is synced before the manifest is, so one that was
interrupted is seen to be none. The rows are taken first. Files are written once and never changed, and
each is durable before a row names it, so what the rows name can be copied afterwards at leisure; only
retention takes files away, and what it took meanwhile is noted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2
from sqlalchemy import Column, ColumnElement, Connection, or_, select, text

from engine.audit import append_event
from engine.clock import Clock
from engine.errors import PonsError
from engine.file_copy import copy_file, make_private, share, sync_file
from engine.manifest import (
    DATA,
    DATABASE,
    FILES,
    MANIFEST,
    Listed,
    Manifest,
    Progress,
    digest,
    listed,
    read_manifest,
)
from engine.spool import fsync_folder, write_durably
from engine.store.copy import snapshot
from engine.store.database import Database
from engine.store.sqlite import SqliteDatabase
from engine.store.tables import deliveries, instances, results, studies

PAGE = 500  # rows at a time
SPARE = 64 * 1024**2  # bytes that stay free at the target beside what is needed
# Not state: locks, the reserve, and the database, which is taken by itself.
_PASSING = ("engine.lock", "start.lock", "reserve", "pons.sqlite")


@dataclass(frozen=True, slots=True)
class _Named:
    """A file that a row names. ``study_id`` is None for the engine's own state."""

    path: str
    study_id: int | None


def back_up(
    database: Database,
    data: Path,
    target: Path,
    *,
    table: str,
    clock: Clock,
    actor: str,
    progress: Progress,
    previous: Path | None = None,
    link: bool = False,
) -> Manifest:
    """Make a backup; what is left of one that fails is removed.

    Args:
        table: version of the routing table.
        actor: who does it, for the audit trail.
        previous: an earlier backup, whose unchanged files become hard links instead of copies.
        link: share files with the data folder where the file system can, instead of copying them.

    Raises:
        PonsError: the target is in use or too small, or the database is of another release.
    """
    _check_places(data, target)
    earlier = _Earlier(previous) if previous is not None else None
    target.mkdir(mode=0o700, exist_ok=True)
    target.chmod(0o700)
    try:
        manifest = _fill(database, data, target, table, clock, earlier, link, progress)
    except BaseException:
        for left in target.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
        raise
    finally:
        if earlier is not None:
            earlier.close()
    detail = {
        "files": manifest.files,
        "bytes": manifest.size,
        "missing": manifest.missing,
        "manifest": digest(target / MANIFEST),
    }
    database.write_now(
        lambda c: append_event(
            c,
            clock.now(),
            actor=actor,
            action="backup made",
            subject=f"backup {target.name}"[:200],
            detail=detail,
        )
    )
    return manifest


def _check_places(data: Path, target: Path) -> None:
    inner, outer = target.resolve(), data.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise PonsError(
            f"{target}: a backup cannot lie in the data folder, nor around it: name another folder"
        )
    if not target.parent.is_dir():
        raise PonsError(f"{target.parent}: no such folder: make it first")
    if target.exists() and not (target.is_dir() and next(target.iterdir(), None) is None):
        what = "a backup" if (target / MANIFEST).exists() else "not empty, and no finished backup"
        raise PonsError(f"{target}: {what}: name a folder that is not there yet")


def _fill(
    database: Database,
    data: Path,
    target: Path,
    table: str,
    clock: Clock,
    earlier: _Earlier | None,
    link: bool,
    progress: Progress,
) -> Manifest:
    _check_space(target, database.read_now(lambda c: _database_size(c, data)))
    copied = target / DATABASE
    rows = 0

    def tick(_table: str, count: int) -> None:
        nonlocal rows
        rows += count
        progress("copying rows", rows, 0)

    taken_at = clock.now()
    schema = snapshot(database, copied, tick)
    (target / DATA).mkdir(mode=0o700)
    with _opened(copied) as connection:
        size = needed = 0
        for one in _named(connection, data):
            with contextlib.suppress(OSError):
                facts = (data / one.path).stat()
                size += facts.st_size
                shared = (link and facts.st_dev == target.stat().st_dev) or (
                    earlier is not None and earlier.unchanged(one.path, facts) is not None
                )
                needed += 0 if shared else facts.st_size
        _check_space(target, needed)
        counts = _copy_files(connection, database, data, target, earlier, link, progress, size)
    for folder, _, _ in os.walk(target / DATA):
        fsync_folder(Path(folder))
    sync_file(copied)
    fsync_folder(target)
    manifest = Manifest(
        schema=schema,
        engine=version("pons"),
        table=table,
        taken_at=taken_at,
        finished_at=clock.now(),
        database_size=copied.stat().st_size,
        database_sha256=digest(copied),
        list_sha256=digest(target / FILES),
        files=counts["files"],
        size=counts["size"],
        removed=counts["removed"],
        missing=counts["missing"],
    )
    write_durably(target / MANIFEST, manifest.to_json())
    fsync_folder(target.parent)
    return manifest


def _copy_files(
    connection: Connection,
    database: Database,
    data: Path,
    target: Path,
    earlier: _Earlier | None,
    link: bool,
    progress: Progress,
    total: int,
) -> dict[str, int]:
    counts = {"files": 0, "size": 0, "removed": 0, "missing": 0}
    descriptor = os.open(target / FILES, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as lines:
        for one in _named(connection, data):
            copy = target / DATA / one.path
            if copy.exists():  # two rows may name one file: a result and the version that retracts it
                continue
            make_private(copy.parent)
            try:
                kept = _keep(data / one.path, copy, one, earlier, link and one.study_id is not None)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EIO):
                    raise
                copy.unlink(missing_ok=True)
                kept = Listed(one.path, absent=database.read_now(partial(_why_absent, one=one)))
                counts[kept.absent] += 1
            else:
                counts["files"] += 1
                counts["size"] += kept.size
            lines.write(kept.to_json())
            progress("copying files", counts["size"], total)
        lines.flush()
        os.fsync(lines.fileno())
    return counts


def _keep(source: Path, copy: Path, one: _Named, earlier: _Earlier | None, link: bool) -> Listed:
    """One file of the data folder in the backup, synced; FileNotFoundError when it is gone."""
    if earlier is not None and (known := earlier.unchanged(one.path, source.stat())) is not None:
        with contextlib.suppress(OSError):  # another file system, or too many links: copied instead
            os.link(earlier.path(one.path), copy)
            return known
    if link and share(source, copy):
        return Listed(one.path, source.stat().st_size, digest(source))
    return copy_file(source, copy, one.path)


# ── what the rows name ──────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Connection]:
    copy = SqliteDatabase(path)
    try:
        with copy.engine.connect() as connection:
            yield connection
    finally:
        copy.close()


def _named(connection: Connection, data: Path) -> Iterator[_Named]:
    """Every file that the rows name and retention has not removed, and the engine's own.

    A file may come twice.
    """
    for path in sorted(data.iterdir()):
        if path.is_file() and not path.name.startswith(_PASSING):
            yield _Named(path.name, None)
    for path in sorted(data.glob("*/*/host_key")):  # of a channel: its peers know the engine by it
        yield _Named(str(path.relative_to(data)), None)
    for row in _rows(connection, select(instances.c.path, instances.c.study_id)):
        yield _Named(f"instances/{row.path}", row.study_id)
    sent = select(deliveries.c.payload, deliveries.c.study_id).join(studies)
    sent = sent.where(_kept_since(deliveries.c.created_at))
    for row in _rows(connection, sent.where(deliveries.c.payload.is_not(None))):
        for part in row.payload or ():
            yield _Named(part["path"], row.study_id)
    found = select(results.c.document, results.c.study_id).join(studies)
    for row in _rows(connection, found.where(_kept_since(results.c.produced_at))):
        for artefact in row.document["report"]["artefacts"]:
            if artefact.get("path"):
                yield _Named(artefact["path"], row.study_id)


def _kept_since(made_at: Column[float]) -> ColumnElement[bool]:
    """What was made before retention emptied its study has no files any more, and need not."""
    return or_(studies.c.purged_at.is_(None), made_at > studies.c.purged_at)


def _rows(connection: Connection, query: Any) -> Iterator[Any]:
    yield from connection.execution_options(yield_per=PAGE).execute(query)


def _why_absent(connection: Connection, one: _Named) -> str:
    """Asked of the living database: whether retention took a file's study meanwhile."""
    if one.study_id is None:
        return "removed"
    row = connection.execute(select(studies.c.purged_at).where(studies.c.id == one.study_id)).one_or_none()
    return "removed" if row is None or row.purged_at is not None else "missing"


# ── space, and an earlier backup ────────────────────────────────────────────────────────────────


def _database_size(connection: Connection, data: Path) -> int:
    if connection.dialect.name == "postgresql":
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    return sum(path.stat().st_size for path in data.glob("pons.sqlite*"))


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target).free
    if needed + SPARE > free:
        raise PonsError(
            f"{target}: the backup needs {needed / 1e9:.2f} GB there and {free / 1e9:.2f} GB are free"
        )


class _Earlier:
    """The files of an earlier backup by their paths; in a table on disk, for there may be millions."""

    def __init__(self, backup: Path) -> None:
        read_manifest(backup)
        self._backup = backup
        self._index = pysqlite3.dbapi2.connect("")  # SQLite's own temporary file, gone when closed
        self._index.execute("CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, sha256 TEXT)")
        self._index.executemany(
            "INSERT OR IGNORE INTO files VALUES (?, ?, ?)",
            ((one.path, one.size, one.sha256) for one in listed(backup) if not one.absent),
        )

    def path(self, path: str) -> Path:
        return self._backup / DATA / path

    def unchanged(self, path: str, facts: os.stat_result) -> Listed | None:
        """What is known of a file that has not changed since: same size, same time."""
        row = self._index.execute("SELECT size, sha256 FROM files WHERE path = ?", (path,)).fetchone()
        if row is None or row[0] != facts.st_size:
            return None
        with contextlib.suppress(OSError):
            kept = self.path(path).stat()
            if (kept.st_size, kept.st_mtime_ns) == (facts.st_size, facts.st_mtime_ns):
                return Listed(path, row[0], row[1])
        return None

    def close(self) -> None:
        self._index.close()
