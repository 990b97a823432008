"""What is finished goes, in time and in order, so that the disk never has to refuse what is new.

Enter: the policy of the table's `retention:` and a clock. Leave: fewer files and rows, an event on the
audit trail for each study. A study goes when it is older than `keep`, when all instances together are
larger than `max_size`, or when the disk is below its watermark; oldest first, one a transaction, and
never one of which anything is still to be received, decided, answered, processed or delivered.

A note in `trash/` is made first, then the rows go in one transaction, then the files: the study's folder
by one rename while the study's row is ours, so that an instance which arrives at that moment finds its
folder gone and not its bytes. After a crash the note says what to do again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from engine.audit import append_event
from engine.clock import Clock
from engine.sections import Retention as Policy
from engine.spool import Spool, fsync_folder, write_durably
from engine.store import retention as queries
from engine.store.database import Database

logger = logging.getLogger("pons.retention")

BATCH = 50  # studies looked up at once
PAUSE = 5.0  # seconds between two looks at least, however low the disk is
OLD = "older than retention.keep"
LARGE = "all instances together were larger than retention.max_size"
LOW = "the disk was below engine.min_free"


def keeps(unfinished: str, last_event: float, now: float, policy: Policy, *, above: bool) -> str:
    """Why a study stays, for people; empty when it goes. Pure; a disk that is low is not considered.

    Args:
        unfinished: what is still to be done with it; empty when nothing is.
        above: all instances together are larger than `max_size`.
    """
    if unfinished:
        return unfinished
    if above or (policy.keep is not None and now - last_event >= policy.keep):
        return ""
    if policy.keep is None:
        return "the table has no retention.keep" if policy.max_size is None else "there is room for it"
    return f"retention.keep has {(policy.keep - (now - last_event)) / 86400:.1f} days to go"


@dataclass(slots=True)
class Swept:
    """What one look came to."""

    studies: int = 0
    instances: int = 0
    size: int = 0
    forgotten: int = 0  # studies whose records went too
    why: dict[str, int] = field(default_factory=dict)


class Retention:
    """Removes what is finished; of several engines on a data folder, one at a time."""

    def __init__(self, database: Database, spool: Spool, clock: Clock, policy: Policy, *, data: Path) -> None:
        self._database = database
        self._spool = spool
        self._clock = clock
        self._policy = policy
        self._data = data
        self._trash = data / "trash"
        self._trash.mkdir(mode=0o700, exist_ok=True)
        self._wake = asyncio.Event()
        self.removed = Swept()
        """Since this process began."""

    @property
    def configured(self) -> bool:
        """Whether anything is ever removed."""
        return self._policy.keep is not None or self._policy.max_size is not None

    def wake(self) -> None:
        """The disk is below its watermark: do not wait for the next look."""
        self._wake.set()

    def take(self, policy: Policy) -> None:
        """Another policy, at once where it differs; a look under way ends by the one it began with."""
        if policy != self._policy:
            self._policy = policy
            self._wake.set()

    async def run(self) -> None:
        """Look every so often, until cancelled; sooner when the disk is low. Rests without a policy."""
        while True:
            await self.sweep()
            while not self.configured and self._policy.history is None:
                await self._wake.wait()  # the look was for what an earlier policy left half done
                self._wake.clear()
            self._wake.clear()
            await asyncio.sleep(min(PAUSE, self._policy.every))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._policy.every):
                    await self._wake.wait()

    async def sweep(self) -> Swept:
        """Remove what may go now; nothing when another engine is at it."""
        swept, policy, configured = Swept(), self._policy, self.configured
        async with self._alone() as alone:
            if alone:
                await self._finish_leftovers()
                now = self._clock.now()
                if policy.keep is not None:
                    async for _ in self._removing(now - policy.keep, OLD, swept):
                        pass
                if policy.max_size is not None:
                    await self._shrink(policy.max_size, now, swept)
                if configured and self._low():
                    async for _ in self._removing(now, LOW, swept):
                        if not self._low():
                            break
                if policy.history is not None:
                    await self._forget(now - policy.history, swept)
        if swept.studies or swept.forgotten:
            logger.info(
                "finished studies removed",
                extra={"pons": {"count": swept.studies, "bytes": swept.size, "why": swept.why}},
            )
        return swept

    def _low(self) -> bool:
        self._spool.look_again()
        return self._spool.below_watermark

    async def _shrink(self, limit: int, now: float, swept: Swept) -> None:
        total = await self._database.read(queries.total_size)
        if total > limit:
            async for size in self._removing(now, LARGE, swept):
                total -= size
                if total <= limit:
                    break

    async def _removing(self, before: float, why: str, swept: Swept) -> AsyncIterator[int]:
        """Remove finished studies untouched since ``before``, oldest first; the size of each."""
        while True:
            ids = await self._database.read(partial(queries.removable, before=before, limit=BATCH))
            gone = 0
            for study_id, folder in ids:
                removed = await self._remove(study_id, folder, before, why)
                if removed is None:
                    continue
                gone += 1
                for count in (swept, self.removed):
                    count.studies += 1
                    count.instances += removed.instances
                    count.size += removed.size
                    count.why[why] = count.why.get(why, 0) + 1
                yield removed.size
            if not gone:
                return

    async def _remove(self, study_id: int, folder: str, before: float, why: str) -> queries.Removed | None:
        note = self._trash / f"{study_id}.json"
        await asyncio.to_thread(write_durably, note, json.dumps({"folder": folder}).encode())
        now = self._clock.now()

        def work(connection: Connection) -> queries.Removed | None:
            removed = queries.remove(connection, study_id, before, now)
            if removed is not None:
                append_event(
                    connection,
                    now,
                    actor="retention",
                    action="instances removed",
                    subject=f"study {folder.partition('/')[2]}",
                    detail={
                        "site": folder.partition("/")[0],
                        "instances": removed.instances,
                        "bytes": removed.size,
                        "why": why,
                    },
                )
            return removed

        removed = await self._database.write(work)
        if removed is not None:
            await self._remove_files(study_id, folder)
        note.unlink()
        return removed

    async def _remove_files(self, study_id: int, folder: str) -> None:
        """Everything on disk that no row names any more; may be done again."""
        trash = self._trash / str(study_id)
        trash.mkdir(mode=0o700, exist_ok=True)

        def take_away(connection: Connection) -> tuple[list[str], list[str]]:
            kept = queries.kept_files(connection, study_id)
            self._spool.take_away(folder, kept, trash)
            return queries.files_of(connection, study_id)

        sent, made = await self._database.write(take_away)
        folders = [trash]
        folders += [self._data / "payloads" / one for one in sent]
        folders += [self._data / "artefacts" / one for one in made]
        await asyncio.to_thread(_remove_trees, folders)

    async def _finish_leftovers(self) -> None:
        """What a crash left between its note and its end."""
        for note in sorted(self._trash.glob("*.json")):
            study_id = int(note.stem)
            folder = json.loads(note.read_bytes())["folder"]
            if await self._database.read(partial(queries.was_removed, study_id=study_id)):
                await self._remove_files(study_id, folder)
            note.unlink()
        await asyncio.to_thread(fsync_folder, self._trash)

    async def _forget(self, removed_before: float, swept: Swept) -> None:
        while True:
            ids = await self._database.read(
                partial(queries.forgettable, removed_before=removed_before, limit=BATCH)
            )
            gone = 0
            for study_id in ids:
                gone += await self._database.write(partial(self._forget_one, study_id, removed_before))
            swept.forgotten += gone
            self.removed.forgotten += gone
            if not gone:
                break
        while await self._database.write(
            partial(queries.forget_commitment_requests, before=removed_before, limit=BATCH)
        ):
            pass

    def _forget_one(self, study_id: int, removed_before: float, connection: Connection) -> bool:
        study = queries.forget(connection, study_id, removed_before)
        if study is None:
            return False
        append_event(
            connection,
            self._clock.now(),
            actor="retention",
            action="records removed",
            subject=f"study {study.study_instance_uid}",
            detail={"site": study.site},
        )
        return True

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[bool]:
        with (self._trash / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


def _remove_trees(folders: Iterable[Path]) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
