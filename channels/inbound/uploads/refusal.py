"""Why nothing was done about an upload; a channel maps the reason to its own status."""

from __future__ import annotations

from enum import StrEnum

from engine.errors import PonsError


class Reason(StrEnum):
    """Why; the number is the status of HTTP."""

    NOT_FOUND = "not_found"  # no such upload among the sites that one may see: 404
    STATE = "state"  # it is past what was asked: 409
    PARTS = "parts"  # it cannot be completed of the parts that are here: 409
    DIGEST = "digest"  # what arrived is not what was announced: 400
    MALFORMED = "malformed"  # what was announced cannot be read: 400
    TOO_LARGE = "too_large"  # 413
    QUOTA = "quota"  # the site has too much under way: 429
    LINK = "link"  # the address has expired, or is not one of ours: 403
    SILENT = "silent"  # the body stood still: 408


class UploadRefused(PonsError):
    """An upload cannot be begun, found or changed as asked; what was here before is as it was."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
