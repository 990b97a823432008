"""What goes wrong on the way to a page, as what the error page says: status, title, cause, remedy.

Enter: what a page or a desk of the engine raised. Leaves: a `PageRaised`. Nothing of it names a patient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from engine.channel import (
    ClientRefused,
    ClientRefusedReason,
    OperationRefused,
    OperationRefusedReason,
    SignInRefused,
    SignInRefusedReason,
)
from engine.errors import Busy, DatabaseUnavailable, OrderRefused, OrderRefusedReason, PonsError

TITLES: Mapping[int, str] = {
    400: "That request makes no sense",
    401: "You are not signed in",
    403: "Not with your role",
    404: "There is nothing here",
    405: "That is not done here",
    408: "That took too long",
    409: "It is past that",
    410: "It is gone",
    412: "It has changed meanwhile",
    413: "That is too much",
    415: "Not in that form",
    422: "That cannot be used",
    429: "Too fast",
    500: "A fault of ours",
    503: "Not at this moment",
    507: "The disk is full",
}
_ORDER: Mapping[OrderRefusedReason, int] = {
    OrderRefusedReason.NOT_FOUND: 404,
    OrderRefusedReason.INVALID: 422,
    OrderRefusedReason.STATE: 409,
    OrderRefusedReason.VERSION: 412,
    OrderRefusedReason.GONE: 410,
    OrderRefusedReason.IDEMPOTENCY: 422,
}
_SIGN_IN: Mapping[SignInRefusedReason, int] = {
    SignInRefusedReason.WRONG: 401,
    SignInRefusedReason.LOCKED: 429,
    SignInRefusedReason.EXPIRED: 401,
    SignInRefusedReason.WEAK: 422,
    SignInRefusedReason.INVALID: 422,
    SignInRefusedReason.CONFLICT: 409,
    SignInRefusedReason.NOT_FOUND: 404,
    SignInRefusedReason.FORBIDDEN: 403,
}
_CLIENT: Mapping[ClientRefusedReason, int] = {
    ClientRefusedReason.NOT_FOUND: 404,
    ClientRefusedReason.INVALID: 422,
    ClientRefusedReason.CONFLICT: 409,
    ClientRefusedReason.FORBIDDEN: 403,
}
_OPERATION: Mapping[OperationRefusedReason, int] = {
    OperationRefusedReason.NOT_FOUND: 404,
    OperationRefusedReason.INVALID: 422,
    OperationRefusedReason.CHANGED: 409,
    OperationRefusedReason.REFUSED: 409,
}


class PageRaised(Exception):
    """Ends a visit with an error page."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """
        Args:
            message: what is wrong and what to do, for whoever looks at the page.
        """
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})

    @property
    def title(self) -> str:
        """What the page is headed with."""
        return TITLES.get(self.status, TITLES[500])


def status_of(refused: SignInRefused | ClientRefused) -> int:
    """The status that answers it."""
    return _CLIENT[refused.reason] if isinstance(refused, ClientRefused) else _SIGN_IN[refused.reason]


def raised_by(error: PonsError) -> PageRaised | None:
    """The page of an error that was raised on purpose; None where nobody foresaw it here."""
    if isinstance(error, SignInRefused):
        wait = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
        return PageRaised(status_of(error), str(error), wait)
    if isinstance(error, OrderRefused):
        return PageRaised(_ORDER[error.reason], str(error))
    if isinstance(error, ClientRefused):
        return PageRaised(status_of(error), str(error))
    if isinstance(error, OperationRefused):
        return PageRaised(_OPERATION[error.reason], str(error))
    if isinstance(error, Busy | DatabaseUnavailable):
        return PageRaised(507 if error.storage_full else 503, str(error), {"Retry-After": "5"})
    return None
