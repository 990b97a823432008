"""The engine's `engine.order_desk.OrderDesk`: thin, over `engine.order_changes` and the queries.

Enter: what a channel asks. Leave: facts, after the transaction has been committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from engine import order_changes, overrides
from engine.audit import append_event
from engine.clock import Clock
from engine.errors import Busy, DatabaseUnavailable
from engine.order_desk import Sites
from engine.order_model import (
    Batch,
    BatchPage,
    BatchReport,
    Cancelled,
    Entries,
    NewBatch,
    NewOrder,
    OrderChange,
    OrderDetails,
    OrderPage,
    OrderQuery,
    OrderResult,
    OrderState,
    StudyOrder,
    Submitter,
)
from engine.order_view import batch_of, change_of, delivery_of, order_of, report_of, result_of
from engine.store import batches, order_entries, order_states, orders, retrievals, studies
from engine.store.database import Database
from engine.store.kept import Kept, acknowledged

T = TypeVar("T")

REPLACE_WITHIN = 300.0  # seconds, where the table says nothing


class Orders:
    """Orders of one engine."""

    def __init__(self, database: Database, clock: Clock, replace_within: float = REPLACE_WITHIN) -> None:
        """
        Args:
            replace_within: seconds in which the same study, given again, takes the place of the first.
        """
        self._database = database
        self._clock = clock
        self._replace_within = replace_within
        self._kept: Kept = retrievals.EVERYTHING

    def take(self, replace_within: float) -> None:
        """Another table's rule, from the next order on."""
        self._replace_within = replace_within

    def keep(self, kept: Kept) -> None:
        """Another table's destinations where results are kept for clients, from now on."""
        self._kept = kept

    async def create(self, new: NewOrder) -> StudyOrder:
        """Take an order."""
        metadata, now = overrides.checked(new.metadata), self._clock.now()
        within = self._replace_within
        return order_of(await self._write(lambda c: order_changes.create(c, new, metadata, now, within)))

    async def get(self, order_id: str, sites: Sites = None) -> OrderDetails:
        """An order with all that there is of it."""
        return await self._read(lambda c: details(c, order_id, sites))

    async def of_study(self, study_instance_uid: str, sites: Sites = None) -> Sequence[StudyOrder]:
        """The orders on a study."""
        rows = await self._read(lambda c: orders.of_study_uid(c, study_instance_uid, sites))
        return [order_of(row) for row in rows]

    async def list(self, query: OrderQuery) -> OrderPage:
        """A page of orders."""
        rows, following = await self._read(lambda c: orders.page(c, query))
        return OrderPage(orders=tuple(order_of(row) for row in rows), next=following)

    async def entries(
        self,
        sites: Sites = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Entries:
        """A page of orders that were given alone and of batches."""
        query = OrderQuery(
            sites=None if sites is None else tuple(sites),
            alone=True,
            since=since,
            until=until,
            limit=limit,
        )

        def work(connection: Connection) -> Entries:
            rows, following = order_entries.page(connection, query, after)
            groups = [row.batch_id for row in rows if not hasattr(row, "order_id")]
            counts = batches.states(connection, groups)
            return Entries(
                entries=tuple(
                    order_of(row) if hasattr(row, "order_id") else batch_of(row, counts[row.batch_id])
                    for row in rows
                ),
                next=following,
            )

        return await self._read(work)

    async def changes(self, since: datetime | None, *, limit: int = 1000) -> Sequence[OrderChange]:
        """The orders that have changed at this time or later."""
        moment = None if since is None else since.timestamp()
        rows = await self._read(lambda c: orders.changed_since(c, moment, limit))
        return [change_of(row) for row in rows]

    async def counts(self, sites: Sites = None) -> Mapping[OrderState, int]:
        """How many orders are in each state."""
        found = await self._read(lambda c: order_states.count_by_state(c, sites))
        return {state: found.get(state.value, 0) for state in OrderState}

    async def set_metadata(
        self,
        order_id: str,
        metadata: Mapping[str, Any],
        *,
        actor: Submitter,
        sites: Sites = None,
        version: int | None = None,
    ) -> StudyOrder:
        """Give an order other metadata."""
        wanted, now = overrides.checked(metadata), self._clock.now()
        return order_of(
            await self._write(
                lambda c: order_changes.set_metadata(c, order_id, wanted, actor, sites, version, now)
            )
        )

    async def uploading(self, order_id: str, sites: Sites = None) -> StudyOrder:
        """Bytes for an order are on their way."""
        now = self._clock.now()
        return order_of(await self._write(lambda c: order_changes.uploading(c, order_id, sites, now)))

    async def upload_failed(self, order_id: str, failure: str, sites: Sites = None) -> StudyOrder:
        """What was uploaded is of no use."""
        now = self._clock.now()
        return order_of(
            await self._write(lambda c: order_changes.upload_ended(c, order_id, failure, sites, now))
        )

    async def upload_ended(self, order_id: str, sites: Sites = None) -> StudyOrder:
        """An upload was given up and left nothing."""
        return await self.upload_failed(order_id, "", sites)

    async def bind(self, order_id: str, study_instance_uid: str, sites: Sites = None) -> StudyOrder:
        """The study of an order is this one."""
        now, within = self._clock.now(), self._replace_within
        return order_of(
            await self._write(
                lambda c: order_changes.bind(c, order_id, study_instance_uid, sites, now, within)
            )
        )

    async def cancel(
        self,
        order_id: str,
        *,
        actor: Submitter,
        reason: str = "",
        sites: Sites = None,
        version: int | None = None,
    ) -> Cancelled:
        """Cancel an order."""
        now = self._clock.now()
        row, stopped, shared = await self._write(
            lambda c: order_changes.cancel(c, order_id, actor, reason, sites, version, now)
        )
        return cancelled_of(row, stopped, shared)

    async def unretrieved(
        self,
        reader: Submitter,
        sites: Collection[str],
        *,
        submitter: Submitter | None = None,
        limit: int = 50,
    ) -> Sequence[OrderResult]:
        """Results that a reader has not acknowledged."""
        kept, now = self._kept_for(reader), self._clock.now()
        rows = await self._read(
            lambda c: retrievals.unretrieved(c, str(reader), sites, submitter, limit, kept, now)
        )
        return [result_of(row) for row in rows]

    async def acknowledge(self, reader: Submitter, sites: Collection[str], seqs: Collection[int]) -> int:
        """A reader has these results."""
        kept, now = self._kept_for(reader), self._clock.now()

        def work(connection: Connection) -> int:
            new = retrievals.acknowledge(connection, str(reader), sites, seqs, now, kept)
            acknowledged(connection, kept, sites, seqs, now)
            if new:
                event = {"actor": str(reader), "action": "results acknowledged", "subject": str(reader)}
                append_event(connection, now, **event, detail={"results": new})
            return new

        return await self._write(work)

    async def viewed(
        self, reader: Submitter, action: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """A reader is about to be shown something."""
        now = self._clock.now()
        event = {"actor": str(reader), "action": action, "subject": subject}
        await self._write(lambda c: append_event(c, now, **event, detail=dict(detail or {})))

    def _kept_for(self, reader: Submitter) -> Kept:
        """What is kept for pulling is offered to programs; people see every result."""
        return self._kept if reader.kind == "client" else retrievals.EVERYTHING

    async def create_batch(self, new: NewBatch) -> Batch:
        """Begin a batch."""
        now = self._clock.now()

        def work(connection: Connection) -> Batch:
            row = order_changes.create_batch(connection, new, now)
            return batch_of(row, batches.states(connection, [row.batch_id])[row.batch_id])

        return await self._write(work)

    async def batch(self, batch_id: str, sites: Sites = None) -> Batch:
        """A batch with its counts."""
        return await self._read(lambda c: batch(c, batch_id, sites))

    async def batches(self, sites: Sites = None, *, limit: int = 50, after: str | None = None) -> BatchPage:
        """A page of batches."""

        def work(connection: Connection) -> BatchPage:
            rows, following = batches.page(connection, sites, limit, after)
            counts = batches.states(connection, [row.batch_id for row in rows])
            return BatchPage(
                batches=tuple(batch_of(row, counts[row.batch_id]) for row in rows), next=following
            )

        return await self._read(work)

    async def batch_report(self, batch_id: str, sites: Sites = None) -> BatchReport:
        """What came of every order of a batch."""
        return await self._read(lambda c: batch_report(c, batch_id, sites))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.write(work)
        except DatabaseUnavailable as error:
            raise Busy(str(error), storage_full=error.storage_full) from None

    async def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.read(work)
        except DatabaseUnavailable as error:
            raise Busy(str(error)) from None


def details(connection: Connection, order_id: str, sites: Sites = None) -> OrderDetails:
    """An order with its results, deliveries and holds."""
    row = orders.by_id(connection, order_id, sites)
    bound = row.study_id is not None
    return OrderDetails(
        order=order_of(row),
        study_revision=studies.study(connection, row.study_id).revision if bound else 0,
        instances=orders.instances_of(connection, row.study_id) if bound else 0,
        results=tuple(result_of(one) for one in orders.results_of(connection, order_id)),
        deliveries=tuple(delivery_of(one) for one in orders.deliveries_of(connection, row)) if bound else (),
        holds=tuple(orders.holds_of(connection, row)) if bound else (),
    )


def batch(connection: Connection, batch_id: str, sites: Sites = None) -> Batch:
    """A batch with its counts."""
    row = batches.by_id(connection, batch_id, sites)
    return batch_of(row, batches.states(connection, [batch_id])[batch_id])


def batch_report(connection: Connection, batch_id: str, sites: Sites = None) -> BatchReport:
    """What came of every order of a batch."""
    row = batches.by_id(connection, batch_id, sites)
    latest = batches.latest_results(connection, batch_id)
    return report_of(row, batches.orders_of(connection, batch_id), latest)


def cancelled_of(row: Any, stopped: Any, shared: bool) -> Cancelled:
    """What cancelling came to."""
    return Cancelled(
        order=order_of(row),
        runs=stopped.runs,
        deliveries=stopped.deliveries,
        under_way=stopped.under_way,
        delivered=stopped.delivered,
        shared=shared,
    )
