"""At start-up: files that a crash left between their name and their record.

An instance is acknowledged only once its row is committed, so a file without a row was never
acknowledged and goes. Only study folders changed since shortly before the last recorded arrival
can hold one; the rest is not walked.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select

from engine.spool import Spool
from engine.store.database import Database
from engine.store.tables import instances, studies

SLACK = 3600.0  # seconds between the clock of the rows and that of the file system


def reconcile(database: Database, spool: Spool) -> int:
    """Remove unrecorded files; returns how many. Run before any channel listens; blocks."""
    latest = database.read_now(lambda c: c.execute(select(func.max(studies.c.last_at))).scalar_one())
    since = (latest or 0.0) - SLACK
    removed = 0
    for folder in spool.instances.glob("*/*"):
        if folder.stat().st_mtime >= since:
            removed += _clean(database, spool, folder)
    return removed


def _clean(database: Database, spool: Spool, folder: Path) -> int:
    prefix = f"{folder.parent.name}/{folder.name}/"
    recorded = set(
        database.read_now(
            lambda c: (
                c.execute(
                    select(instances.c.path).where(
                        instances.c.site == folder.parent.name,
                        instances.c.path.startswith(prefix, autoescape=True),
                    )
                )
                .scalars()
                .all()
            )
        )
    )
    orphans = [file for file in folder.iterdir() if prefix + file.name not in recorded]
    for orphan in orphans:
        orphan.unlink()
    return len(orphans)
