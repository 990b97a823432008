"""At start-up: put back what a power cut took from the file system and the log still has.

Enter: the logs of processes that ended without settling them (`engine.instance_log`). Leaves: for every row
the log knows of, a file with its data set; then the logs are gone. What has no row was never acknowledged, or
was removed since by retention: it stays away.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from sqlalchemy import select, tuple_

from engine.data_set_digest import digest_of
from engine.instance_log import entries, sync_file_system, turn_of
from engine.spool import Spool
from engine.store.database import Database
from engine.store.tables import instances

logger = logging.getLogger("pons.run")

AT_ONCE = 200  # entries looked up together


def recover(database: Database, spool: Spool) -> int:
    """Put back what is missing; returns how many instances that were. Before any channel listens; blocks."""
    restored = 0
    for log in spool.left_logs():
        restored += _recover(database, spool, log)
    if restored:
        what = "instances that the file system had lost were put back from the log"
        logger.warning(what, extra={"pons": {"count": restored}})
    return restored


def _recover(database: Database, spool: Spool, log: Path) -> int:
    restored = 0
    for segment in sorted(log.iterdir(), key=turn_of):
        held = entries(segment)
        while some := dict(islice(held, AT_ONCE)):
            for path in _lacking(database, spool, some):
                spool.put_back(path, some[path])
                restored += 1
    sync_file_system(spool.instances)
    shutil.rmtree(log)
    return restored


def _lacking(database: Database, spool: Spool, paths: Collection[str]) -> Iterator[str]:
    """Those that have a row, and no file with the data set of that row."""
    instance = tuple_(instances.c.site, instances.c.sop_instance_uid)
    query = select(instances.c.path, instances.c.sha256).where(
        instance.in_([_instance(one) for one in paths])
    )
    rows = database.read_now(lambda c: c.execute(query).all())
    for row in rows:
        if row.path in paths and not _is_whole(spool.path(row.path), row.sha256):
            yield row.path


def _instance(path: str) -> tuple[str, str]:
    site, _, name = path.split("/")
    return site, name.rpartition("-")[0]


def _is_whole(file: Path, sha256: str) -> bool:
    try:
        return digest_of(file) == sha256
    except FileNotFoundError:
        return False
