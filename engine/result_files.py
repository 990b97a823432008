"""The files of results, for those who may have them: the engine's `engine.result_shelf.ResultShelf`.

Enter: a result of an order and a format's or a file's name. Leaves: what an installed export makes of the
result, or what the processor made (verified against its digest), after the event is on the audit trail. A
version whose result was retracted since is gone. No path is made from a name: it is looked up in the result.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, select

from engine.audit import append_event
from engine.channel import BatchExportType, ExportType
from engine.clock import Clock
from engine.errors import Busy, DatabaseUnavailable, OrderRefused, OrderRefusedReason
from engine.model import Result, ResultStatus
from engine.order_model import Submitter
from engine.orders import batch_report
from engine.result_shelf import HandedOut
from engine.store import work
from engine.store.database import Database
from engine.store.tables import order_results
from engine.stored_result import stored_result

logger = logging.getLogger("pons.results")

T = TypeVar("T")


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

    async def result(
        self, result_id: str, name: str, *, reader: Submitter, sites: Collection[str] | None
    ) -> HandedOut:
        """One file of a result."""
        result = await self._asked(self._database.read(lambda c: _result(c, result_id, sites, self._data)))
        made = await asyncio.to_thread(self._made, result, name)
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

    def _made(self, result: Result, name: str) -> HandedOut:
        export = self._exports.get(name)
        if export is not None:
            file = f"result-{result.result_id}{export.suffix}"
            return HandedOut(file, export.media_type, export.export(result))
        filed = {one.name: one for one in result.report.artefacts if one.path is not None}
        if name not in filed:
            raise _not_found(f"no such file of this result; there are {', '.join([*self._exports, *filed])}")
        try:
            return HandedOut(name, filed[name].media_type, filed[name].read())
        except (OSError, ValueError) as error:  # removed from the disk, or changed there
            facts = {"what": result.result_id, "error": type(error).__name__}
            logger.error("an artefact cannot be read", extra={"pons": facts})
            raise _not_found("this file cannot be read any more, see the engine's log") from None

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


def _result(connection: Connection, result_id: str, sites: Collection[str] | None, data: Path) -> Result:
    """A result that an order of these sites has, unless a later version of it was retracted."""
    of_order = select(order_results.c.seq).where(order_results.c.result_id == result_id)
    if sites is not None:
        of_order = of_order.where(order_results.c.site.in_(list(sites)))
    row = work.result_row(connection, result_id)
    if row is None or connection.execute(of_order.limit(1)).first() is None:
        raise _not_found("no such result here")
    latest = work.latest_result(connection, row.study_id, row.lineage)
    if latest is not None and latest.status == ResultStatus.RETRACTED.value and latest.result_id != result_id:
        raise OrderRefused(OrderRefusedReason.GONE, "this result was retracted")
    return stored_result(row.document, data)


def _not_found(why: str) -> OrderRefused:
    return OrderRefused(OrderRefusedReason.NOT_FOUND, why)
