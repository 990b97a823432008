"""Who may run on a data folder: one process alone, or several side by side.

SQLite has one writer, so its engine holds `engine.lock` for itself as long as it lives. Engines on a
PostgreSQL may share a folder: each holds the lock with the others. Whoever finds itself alone there
may settle at once what earlier processes left; whoever is not leaves that to the ends of their leases.
Start-ups pass one at a time under `start.lock`, so "alone" stays true until it has been acted upon.
Both locks die with their process.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator
from pathlib import Path

from engine.errors import ConfigurationError
from engine.spool import fsync_folder

LOOK = 0.05  # seconds between two looks at a lock that another start-up holds
PATIENCE = 600.0  # seconds that another start-up may take: it may be migrating a large database


class Tenancy:
    """A process's place on a data folder; the start-up is over at `started`."""

    def __init__(self, lock: int, start: int, *, alone: bool, shared: bool) -> None:
        self.alone = alone
        """Whether no other process runs on this folder; only true until `started` if it is shared."""
        self._lock = lock
        self._start = start
        self._shared = shared

    def started(self) -> None:
        """Whatever only a process that is alone may do has been done: the next one may come."""
        if self._shared:
            # Not atomic, and need not be: nobody asks for this lock without holding `start.lock`.
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        fcntl.flock(self._start, fcntl.LOCK_UN)


def make_data_folder(data: Path) -> None:
    """Make the folder where it is missing, its name as durable as what will lie in it."""
    made = [folder for folder in (data, *data.parents) if not folder.exists()]
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in made:
        fsync_folder(folder.parent)


@contextlib.asynccontextmanager
async def tenancy(data: Path, *, shared: bool) -> AsyncIterator[Tenancy]:
    """A place on a data folder while entered.

    Raises ConfigurationError when a process that shares with nobody is there already, or when
    this one shares with nobody and another is there.
    """
    with (data / "start.lock").open("a") as start, (data / "engine.lock").open("a") as lock:
        give_up_at = asyncio.get_running_loop().time() + PATIENCE
        while not _taken(start.fileno(), fcntl.LOCK_EX):
            if asyncio.get_running_loop().time() > give_up_at:
                raise ConfigurationError(f"another engine has not finished starting on {data}")
            await asyncio.sleep(LOOK)
        alone = _taken(lock.fileno(), fcntl.LOCK_EX)
        if not alone and not (shared and _taken(lock.fileno(), fcntl.LOCK_SH)):
            raise ConfigurationError(f"another engine is running on {data}")
        yield Tenancy(lock.fileno(), start.fileno(), alone=alone, shared=shared)


def is_in_use(data: Path) -> bool:
    """Whether an engine runs or starts on a data folder; neither notices the question."""
    with contextlib.ExitStack() as stack:
        try:
            start = stack.enter_context((data / "start.lock").open("r+"))
            lock = stack.enter_context((data / "engine.lock").open("r+"))
        except OSError:
            return False
        # Who starts waits for `start.lock`, so it does not meet us at the other.
        return not _taken(start.fileno(), fcntl.LOCK_EX) or not _taken(lock.fileno(), fcntl.LOCK_EX)


def _taken(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
