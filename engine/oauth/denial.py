"""What a client is answered that gets no token (RFC 6749 5.2), and what is written down of it."""

from __future__ import annotations

from typing import Literal

from engine.bearer import REALM
from engine.errors import PonsError

Code = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",  # RFC 8707 2
    "temporarily_unavailable",
]


class Denied(PonsError):
    """A request to the authorization server is denied; the message is fit for the client."""

    def __init__(self, code: Code, message: str, *, status: int = 400, why: str = "") -> None:
        """
        Args:
            why: what is written on the trail; the client may be told less, so that it learns nothing.
        """
        super().__init__(message)
        self.code = code
        self.status = status
        self.why = why or message

    @property
    def headers(self) -> dict[str, str]:
        """What the answer carries besides; 401 names a scheme (RFC 9110 15.5.2)."""
        return {"WWW-Authenticate": f'Basic realm="{REALM}"'} if self.status == 401 else {}


def not_the_client(why: str, *, signed: bool = False) -> Denied:
    """A client is not authenticated; it is told the same whatever was wrong.

    Args:
        signed: it has signed what is wrong with its key, so it may know.
    """
    told = "client authentication failed" + (f": {why}" if signed else "")
    return Denied("invalid_client", told, status=401, why=why)
