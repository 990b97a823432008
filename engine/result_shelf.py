"""The contract of handing out the files of results: a channel asks, `engine.result_files` answers.

Enter: a result's id, or a batch's, and a format or a file's name. Leaves: the bytes, after the hand-out is on
the audit trail. What is of another site, or of no order, is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.clinical import Result
from engine.errors import OrderRefused, OrderRefusedReason
from engine.order_model import Submitter


@dataclass(frozen=True, slots=True)
class HandedOut:
    """One file."""

    name: str  # fit for a disk; tells nothing of a patient
    media_type: str
    content: bytes


class ResultShelf(Protocol):
    """Where the files of results are."""

    @property
    def formats(self) -> Sequence[str]:
        """The installed formats of a result."""
        ...

    @property
    def batch_formats(self) -> Sequence[str]:
        """The installed formats of the report of a batch."""
        ...

    async def look(self, result_id: str, *, sites: Collection[str] | None) -> Result:
        """A result as it stands, for who shows it and says so on the trail himself; raises as `result`."""
        ...

    async def result(
        self, result_id: str, name: str, *, reader: Submitter, sites: Collection[str] | None
    ) -> HandedOut:
        """One file of a result of an order.

        Args:
            name: an installed format (`pdf`, `json`, …), or the name of a file that the processor made.
            sites: the sites that the reader may see; None for every one.

        Raises:
            OrderRefused: NOT_FOUND (no such result here, no such file of it; says which there are), GONE (it
                was retracted).
            Busy: the database is away.
        """
        ...

    async def batch_report(
        self, batch_id: str, name: str, *, reader: Submitter, sites: Collection[str] | None
    ) -> HandedOut:
        """What came of every order of a batch, in an installed format (`csv`, `pdf`); raises as `result`."""
        ...


class EmptyShelf(ResultShelf):
    """Where no engine runs behind a channel: there is nothing."""

    formats: Sequence[str] = ()
    batch_formats: Sequence[str] = ()

    async def look(self, result_id: str, *, sites: Collection[str] | None) -> Result:
        """Nothing."""
        raise OrderRefused(OrderRefusedReason.NOT_FOUND, "no such result here")

    async def result(
        self, result_id: str, name: str, *, reader: Submitter, sites: Collection[str] | None
    ) -> HandedOut:
        """Nothing."""
        raise OrderRefused(OrderRefusedReason.NOT_FOUND, "no such result here")

    async def batch_report(
        self, batch_id: str, name: str, *, reader: Submitter, sites: Collection[str] | None
    ) -> HandedOut:
        """Nothing."""
        raise OrderRefused(OrderRefusedReason.NOT_FOUND, "no such batch here")
