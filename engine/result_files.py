"""The files of results, for those who may have them: the engine's `engine.result_shelf.ResultShelf`.

Enter: a result of an order and a format's or a file's name. Leaves: what an installed export makes of the
result, or what the processor made (verified against its digest), after the event is on the audit trail. A
version whose result was retracted since is gone. No path is made from a name: it is looked up in the result.

What a route delivered to a destination that keeps results (`engine.channel.Keeps`) a client gets as it was
kept, edits and all, in the formats that it was kept in and for as long as it is offered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from engine.audit import append_event
from engine.channel import BatchExportType, ExportType
from engine.clock import Clock
from engine.errors import Busy, DatabaseUnavailable, OrderRefused, OrderRefusedReason
from engine.exported import exported
from engine.model import Result, ResultStatus
from engine.order_model import Submitter
from engine.orders import batch_report
from engine.result_shelf import HandedOut
from engine.store import work
from engine.store.database import Database
from engine.store.kept import Kept, lying
from engine.store.retrievals import EVERYTHING
from engine.store.tables import order_results
from engine.stored_result import stored_versions

logger = logging.getLogger("pons.results")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Found:
    """A result after its earlier versions, and the files of it that lie where results are kept, by format."""

    versions: tuple[Result, ...]
    files: Mapping[str, Mapping[str, Any]]


class ResultFiles:
    """The shelf of one engine."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        data: Path,
        exports: Sequence[ExportType],
        batch_exports: Sequence[BatchExportType],
    ) -> None:
        self._database = database
        self._clock = clock
        self._data = data
        self._exports = {one.name: one for one in exports}
        self._batch_exports = {one.name: one for one in batch_exports}
        self._kept: Kept = EVERYTHING

    @property
    def formats(self) -> Sequence[str]:
        """The installed formats of a result."""
        return tuple(self._exports)

    @property
    def batch_formats(self) -> Sequence[str]:
        """The installed formats of the report of a batch."""
        return tuple(self._batch_exports)

    def keep(self, kept: Kept) -> None:
        """Another table's destinations where results are kept, from now on."""
        self._kept = kept

    async def look(self, result_id: str, *, sites: Collection[str] | None) -> Result:
        """A result as it stands."""
        read = self._database.read(lambda c: self._found(c, result_id, sites, EVERYTHING))
        return (await self._asked(read)).versions[-1]

    async def result(
        self, result_id: str, name: str, *, reader: Submitter, sites: Collection[str] | None
    ) -> HandedOut:
        """One file of a result."""
        kept = self._kept if reader.kind == "client" else EVERYTHING
        found = await self._asked(self._database.read(lambda c: self._found(c, result_id, sites, kept)))
        made = await asyncio.to_thread(self._made, found, name)
        await self._tell(reader, "result handed out", f"result {result_id}", made.name)
        return made

    async def batch_report(
        self, batch_id: str, name: str, *, reader: Submitter, sites: Collection[str] | None
    ) -> HandedOut:
        """The report of a batch."""
        report = await self._asked(self._database.read(lambda c: batch_report(c, batch_id, sites)))
        export = self._batch_exports.get(name)
        if export is None:
            raise _not_found(f"no such format; there are {', '.join(self._batch_exports)}")
        content = await asyncio.to_thread(export.export, report)
        await self._tell(reader, "batch report handed out", f"batch {batch_id}", name)
        return HandedOut(f"batch-{batch_id}{export.suffix}", export.media_type, content)

    def _found(
        self, connection: Connection, result_id: str, sites: Collection[str] | None, kept: Kept
    ) -> _Found:
        """A result that an order of these sites has, unless a later version of it was retracted."""
        site = connection.execute(
            select(order_results.c.site).where(order_results.c.result_id == result_id).limit(1)
        ).scalar_one_or_none()
        row = work.result_row(connection, result_id)
        if row is None or site is None or (sites is not None and site not in sites):
            raise _not_found("no such result here")
        versions = work.versions_of(connection, row.study_id, row.lineage)
        latest = versions[-1]
        if latest.status == ResultStatus.RETRACTED.value and latest.result_id != result_id:
            raise OrderRefused(OrderRefusedReason.GONE, "this result was retracted")
        lies = lying(connection, result_id, kept.get(site, ()))
        offered = [one for one in lies if one.filed_at > self._clock.now() - kept[site][one.destination]]
        if lies and not offered:
            raise OrderRefused(OrderRefusedReason.GONE, "this result is not offered any more")
        files = {part["facts"]["type"]: part for one in reversed(offered) for part in one.payload}
        return _Found(stored_versions(versions, row.revision, self._data), files)

    def _made(self, found: _Found, name: str) -> HandedOut:
        result = found.versions[-1]
        filed = {one.name: one for one in result.report.artefacts if one.path is not None}
        formats = found.files or self._exports
        try:
            if name in found.files:
                return self._as_kept(result.result_id, found.files[name])
            content = None
            if name in formats:
                content = exported(self._exports[name], found.versions)
            elif name in filed:
                return HandedOut(name, filed[name].media_type, filed[name].read())
        except (OSError, ValueError) as error:  # removed from the disk, or changed there
            facts = {"what": result.result_id, "error": type(error).__name__}
            logger.error("an artefact cannot be read", extra={"pons": facts})
            raise _not_found("this file cannot be read any more, see the engine's log") from None
        if content is None:
            raise _not_found(f"no such file of this result; there are {', '.join([*formats, *filed])}")
        export = self._exports[name]
        return HandedOut(f"result-{result.result_id}{export.suffix}", export.media_type, content)

    def _as_kept(self, result_id: str, part: Mapping[str, Any]) -> HandedOut:
        content = (self._data / part["path"]).read_bytes()
        return HandedOut(f"result-{result_id}{part['facts']['suffix']}", part["media_type"], content)

    async def _tell(self, reader: Submitter, action: str, subject: str, name: str) -> None:
        now = self._clock.now()

        def work(connection: Connection) -> None:
            event = {"actor": str(reader), "action": action, "subject": subject}
            append_event(connection, now, **event, detail={"name": name})

        await self._asked(self._database.write(work))

    async def _asked(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except DatabaseUnavailable as error:
            raise Busy(str(error), storage_full=error.storage_full) from None


def _not_found(why: str) -> OrderRefused:
    return OrderRefused(OrderRefusedReason.NOT_FOUND, why)
