"""What the REST API answers when it cannot do what it was asked: problem details (RFC 9457).

Enter: errors of the engine and of a request. Leaves: `application/problem+json` with a type that the API's
own page explains, and each mistake with the place where it stands (a JSON pointer, or a parameter's name). A
problem quotes no value, so none tells of a patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from starlette.responses import JSONResponse, Response

from channels.inbound.uploads.refusal import Reason, UploadRefused
from channels.inbound.uploads.upload import Failure
from engine.errors import Busy, OrderRefused, OrderRefusedReason

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "30"  # seconds

TITLES: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "The request cannot be read"),
    "digest": (400, "The bytes are not those announced"),
    "unauthorized": (401, "An access token is needed"),
    "forbidden": (403, "The access token does not allow this"),
    "link": (403, "The signed address has expired, or is not one of ours"),
    "not-found": (404, "There is nothing here"),
    "method": (405, "The resource has no such method"),
    "silent": (408, "The body did not arrive in time"),
    "state": (409, "The order, or the upload, is past what was asked"),
    "parts": (409, "The upload is not complete"),
    "gone": (410, "The result was retracted"),
    "version": (412, "It has changed since it was looked at"),
    "too-large": (413, "The body is too large"),
    "media-type": (415, "The body is of another media type"),
    "invalid": (422, "The request cannot be used"),
    "package": (422, "What was uploaded cannot be taken"),
    "idempotency": (422, "The idempotency key came with another request"),
    "quota": (429, "The site has too much under way"),
    "too-many": (429, "Too many requests"),
    "defect": (500, "The engine has a defect"),
    "busy": (503, "The engine has too much to do"),
    "full": (507, "The engine's disk is full"),
}
"""Every type of problem, by the last part of its URI: status and title."""

_REFUSED = {
    OrderRefusedReason.NOT_FOUND: "not-found",
    OrderRefusedReason.INVALID: "invalid",
    OrderRefusedReason.STATE: "state",
    OrderRefusedReason.VERSION: "version",
    OrderRefusedReason.GONE: "gone",
    OrderRefusedReason.IDEMPOTENCY: "idempotency",
}
_UPLOAD_REFUSED = {
    Reason.NOT_FOUND: "not-found",
    Reason.STATE: "state",
    Reason.PARTS: "parts",
    Reason.DIGEST: "digest",
    Reason.MALFORMED: "malformed",
    Reason.TOO_LARGE: "too-large",
    Reason.QUOTA: "quota",
    Reason.LINK: "link",
    Reason.SILENT: "silent",
}
_NOT_TAKEN = {"order": "state", "digest": "digest", "parts": "parts", "defect": "defect"}
_TOO_MUCH = ("too_large", "too_many", "bomb")


class Mistake(BaseModel):
    """One thing that is wrong in a request."""

    detail: str = Field(description="what is wrong, and what would be right")
    pointer: str | None = Field(None, description="where in the body: a JSON pointer (RFC 6901)")
    parameter: str | None = Field(None, description="which parameter of the address")
    header: str | None = Field(None, description="which header")


class Problem(BaseModel):
    """Why a request was not served (RFC 9457)."""

    type: str = Field(description="the kind of problem; its address explains it")
    title: str
    status: int
    detail: str = ""
    errors: list[Mistake] | None = None
    reason: str | None = Field(None, description="why an upload was not taken: one of docs/uploads.md")


class ProblemRaised(Exception):
    """A request ends here."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        mistakes: Sequence[Mistake] = (),
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        """
        Args:
            code: a key of `TITLES`.
            status: another status than the usual one.
            reason: why an upload was not taken in.
        """
        super().__init__(detail)
        self.code = code
        self.status = status or TITLES[code][0]
        self.mistakes = list(mistakes)
        self.reason = reason
        self.headers = dict(headers or {})
        if self.status in (503, 507) or code == "quota":
            self.headers.setdefault("Retry-After", RETRY_AFTER)

    def response(self, base: str) -> Response:
        """The answer.

        Args:
            base: the path of the API.
        """
        problem = Problem(
            type=f"{base}/docs#{self.code}",
            title=TITLES[self.code][1],
            status=self.status,
            detail=str(self),
            errors=self.mistakes or None,
            reason=self.reason,
        )
        return JSONResponse(
            problem.model_dump(exclude_none=True),
            self.status,
            headers={"Cache-Control": "no-store", **self.headers},
            media_type=MEDIA_TYPE,
        )


def of_order(error: OrderRefused) -> ProblemRaised:
    """What the desk of orders refused; findings on metadata say where in the body they are."""
    text = str(error)
    mistakes = []
    for line in text.splitlines():
        where, colon, why = line.partition(": ")
        if colon and where.startswith("metadata."):
            mistakes.append(Mistake(pointer=f"/metadata/{_escaped(where[9:])}", detail=why))
        elif colon and where == "after":
            mistakes.append(Mistake(parameter="after", detail=why))
    detail = f"{len(mistakes)} mistakes, see errors" if len(mistakes) > 1 else text
    return ProblemRaised(_REFUSED[error.reason], detail, mistakes=mistakes)


def of_upload(error: UploadRefused) -> ProblemRaised:
    """What the desk of uploads refused."""
    return ProblemRaised(_UPLOAD_REFUSED[error.reason], str(error))


def of_failure(failure: Failure) -> ProblemRaised:
    """What was uploaded and could not be taken in."""
    code = _NOT_TAKEN.get(failure.reason, "package")
    status = None
    if code == "package":
        status = 413 if failure.reason in _TOO_MUCH else 415 if failure.reason == "unsupported" else 422
    return ProblemRaised(code, failure.detail, status=status, reason=failure.reason)


def of_busy(error: Busy) -> ProblemRaised:
    """The database is away, or the disk is full."""
    return ProblemRaised("full" if error.storage_full else "busy", str(error))


def of_body(error: ValidationError) -> ProblemRaised:
    """A body that is JSON, and not what is asked for."""
    mistakes = [
        Mistake(pointer="".join(f"/{_escaped(str(part))}" for part in one["loc"]), detail=_said(one))
        for one in error.errors(include_input=False, include_url=False)
    ]
    return ProblemRaised("invalid", "the body cannot be used, see errors", mistakes=mistakes)


def of_query(error: ValidationError) -> ProblemRaised:
    """Parameters of the address that cannot be used."""
    mistakes = [
        Mistake(parameter=str(one["loc"][0])[:64] if one["loc"] else None, detail=_said(one))
        for one in error.errors(include_input=False, include_url=False)
    ]
    return ProblemRaised("invalid", "the parameters cannot be used, see errors", mistakes=mistakes)


def _said(error: Any) -> str:
    return "is not known here" if error["type"] == "extra_forbidden" else str(error["msg"])


def _escaped(part: str) -> str:
    return part[:64].replace("~", "~0").replace("/", "~1")
