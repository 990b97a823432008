"""The engine's side of orders, for every channel that takes them: REST, portal, SFTP.

A channel asks by its `engine.channel.Intake.orders`. Every call is durable on return and on the audit trail
where it changes something. Who may ask is the channel's to say: it gives the sites that its peer may see
(`sites`), and what lies elsewhere is not there. Errors are `OrderRefused` (with a reason to answer by) and
`Busy` when the database is away; neither names a patient.

An order with an upload::

    order = await intake.orders.create(NewOrder(...))
    await intake.orders.uploading(order.order_id)              # state: receiving
    landing = intake.land(); ...; receipt = await intake.accept(arrival)
    await intake.orders.bind(order.order_id, receipt.study_instance_uid)
    intake.leave(session)                                      # only now may the study become stable

`bind` before `leave`: while the session is open the study is not decided, so it is never decided without the
order's metadata. Where the Study Instance UID is known before the first instance, `bind` may come first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

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

Sites = Collection[str] | None
"""The sites that a peer may see; None for every one."""


class OrderDesk(Protocol):
    """Where orders are given, looked at, changed and cancelled."""

    async def create(self, new: NewOrder) -> StudyOrder:
        """Take an order.

        The same idempotency key of the same submitter gives the order of the first time. Where a study with
        its UID is here already, the order is bound to it; one that its channel's order has for less than
        `orders.replace_within` is taken over by this submitter, under the same order id.

        Raises:
            OrderRefused: INVALID (metadata, all findings at once), IDEMPOTENCY (the key came with another
                request before), NOT_FOUND (its batch).
        """
        ...

    async def get(self, order_id: str, sites: Sites = None) -> OrderDetails:
        """An order with its results, deliveries and holds; OrderRefused(NOT_FOUND)."""
        ...

    async def of_study(self, study_instance_uid: str, sites: Sites = None) -> Sequence[StudyOrder]:
        """The orders on a study, the latest first; empty where there are none."""
        ...

    async def list(self, query: OrderQuery) -> OrderPage:
        """A page of orders; OrderRefused(INVALID) when `after` is no place in a list."""
        ...

    async def entries(
        self,
        sites: Sites = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Entries:
        """A page of orders that were given alone and of batches; OrderRefused(INVALID) as `list`."""
        ...

    async def changes(self, since: datetime | None, *, limit: int = 1000) -> Sequence[OrderChange]:
        """The orders of every site that have changed at this time or later, the earliest change first.

        Without a time: those that changed last.

        For who follows them all: cheap, and to be asked from a little before what was seen last, because a
        change is seen once its transaction has been committed, which may be after that of a later one.
        """
        ...

    async def counts(self, sites: Sites = None) -> Mapping[OrderState, int]:
        """How many orders are in each state."""
        ...

    async def set_metadata(
        self,
        order_id: str,
        metadata: Mapping[str, Any],
        *,
        actor: Submitter,
        sites: Sites = None,
        version: int | None = None,
    ) -> StudyOrder:
        """Give an order other metadata, in place of all that it had, until its study has been decided.

        Also while it is held: it counts when the hold is released with `--then route`.

        Args:
            version: the one that the caller has seen (If-Match); any when absent.

        Raises:
            OrderRefused: NOT_FOUND, VERSION (it has changed since), STATE (decided, over), INVALID.
        """
        ...

    async def uploading(self, order_id: str, sites: Sites = None) -> StudyOrder:
        """Bytes for an order are on their way: it is *receiving*. Harmless when repeated.

        Raises:
            OrderRefused: NOT_FOUND, STATE (cancelled, or its study is here already).
        """
        ...

    async def upload_failed(self, order_id: str, failure: str, sites: Sites = None) -> StudyOrder:
        """What was uploaded is of no use: the order has *failed* until another upload begins.

        Args:
            failure: why, for people, without patient data.
        """
        ...

    async def upload_ended(self, order_id: str, sites: Sites = None) -> StudyOrder:
        """An upload was given up (aborted, expired) and left nothing: the order is *created* again."""
        ...

    async def bind(self, order_id: str, study_instance_uid: str, sites: Sites = None) -> StudyOrder:
        """The study of an order is this one of its site, here already or still to come.

        A channel's own order of that study, and an order of the same submitter for the same accession number
        and patient that is younger than `orders.replace_within`, give way to it: one study, one order.

        Raises:
            OrderRefused: NOT_FOUND, STATE (cancelled, or bound to another study).
        """
        ...

    async def cancel(
        self,
        order_id: str,
        *,
        actor: Submitter,
        reason: str = "",
        sites: Sites = None,
        version: int | None = None,
    ) -> Cancelled:
        """Cancel an order: what has not begun never will, what was delivered stays, and both are told.

        A second time it changes nothing.

        Raises:
            OrderRefused: NOT_FOUND, VERSION, STATE (everything was done, or had failed, before).
        """
        ...

    async def unretrieved(
        self,
        reader: Submitter,
        sites: Collection[str],
        *,
        submitter: Submitter | None = None,
        limit: int = 50,
    ) -> Sequence[OrderResult]:
        """Results that this reader has not acknowledged, the oldest first; the same again until it does.

        Args:
            submitter: of their orders only; of all orders of the sites when absent.
        """
        ...

    async def acknowledge(self, reader: Submitter, sites: Collection[str], seqs: Collection[int]) -> int:
        """This reader has these results (`OrderResult.seq`); returns how many were new to it.

        What is not there, or of another site, is passed over.
        """
        ...

    async def viewed(
        self, reader: Submitter, action: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Put on the audit trail that a reader is about to be shown something; durable on return.

        Args:
            action: dotted, such as `order.viewed`, `orders.listed`.
            subject: an id, never a name or number of a patient.
        """
        ...

    async def create_batch(self, new: NewBatch) -> Batch:
        """Begin a batch; idempotent as `create` is."""
        ...

    async def batch(self, batch_id: str, sites: Sites = None) -> Batch:
        """A batch with its counts; OrderRefused(NOT_FOUND)."""
        ...

    async def batches(self, sites: Sites = None, *, limit: int = 50, after: str | None = None) -> BatchPage:
        """A page of batches, the latest first."""
        ...

    async def batch_report(self, batch_id: str, sites: Sites = None) -> BatchReport:
        """What came of every order of a batch; `engine.channel.BatchExportType` makes files of it."""
        ...
