"""The engine's side of storage commitment (PS3.4 J), as channels see it.

Enter: what a site asks of us, and what a peer reports on what we asked of it. Leave: reports that are owed,
each answered at the moment when it is sent. Who keeps the promise is `engine.commitment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from engine.model import CommitmentReport, CommitmentRequest, OwedReport


class CommitmentDesk(Protocol):
    """The engine's side of storage commitment, as provider (J.3 SCP) and as user (SCU)."""

    async def requested(self, request: CommitmentRequest, *, hold: float = 0.0) -> None:
        """A site asks whether its instances are safe; durable on return.

        The same transaction again is owed a report again. Its report is due after ``hold`` seconds:
        who recorded the request may `claim` it until then. Raises Busy when it cannot be recorded now.
        """
        ...

    async def claim(self, site: str, transaction_uid: str) -> OwedReport | None:
        """The report on one transaction, answered at this moment; None when it is not owed (any more).

        Only what is durable counts as committed; what is not here fails with 0112, what is here and
        cannot be read with 0110, what is here under another SOP Class with 0119. Once claimed it is
        the caller's to send, and due again by itself when neither `sent` nor `not_sent` is heard.
        """
        ...

    async def owed(self, inbound: str, limit: int) -> Sequence[OwedReport]:
        """The same for the reports that are due to be sent by this inbound channel."""
        ...

    async def sent(self, report: OwedReport) -> None:
        """The site has taken this report."""
        ...

    async def not_sent(
        self, report: OwedReport, why: str, *, again: Literal["later", "at once", "never"] = "later"
    ) -> None:
        """The site has not taken it: it is owed still, three days at most, or never will be."""
        ...

    async def reported(self, site: str, report: CommitmentReport) -> bool:
        """A peer of a site reports on what we asked of it; durable on return.

        Whether the transaction was one of ours, asked of a destination of this site.
        """
        ...
