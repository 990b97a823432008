"""What an operation of the REST API is: one declaration is its route, its checks and its description.

Enter: requests. Leave: answers. `Operation` names what a request may hold (pydantic models) and what a token
must allow; `Visit` is a request that was let in, with all that its operation needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from channels.inbound.rest_problem import Mistake, ProblemRaised
from channels.inbound.uploads.desk import Uploads
from channels.inbound.uploads.upload import Upload
from engine.channel import Grant, InboundContext, Intake
from engine.model import Submitter

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7396

Perform = Callable[["Visit"], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one resource."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str  # below the API's own
    name: str  # its operationId
    tag: str
    summary: str
    scope: str
    perform: Perform
    status: int = 200
    answer: type[BaseModel] | None = None  # None: no JSON (``answer_types`` says what then)
    answer_types: tuple[str, ...] = (JSON,)
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_types: tuple[str, ...] = (JSON,)
    body_required: bool = True
    streams: bool = False  # its body is bytes, which it reads itself
    linked: bool = False  # let in by the signature of its address, and by no token
    other_statuses: tuple[int, ...] = ()  # of the same answer
    request_headers: tuple[str, ...] = ()  # keys of `HEADERS`
    answer_headers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()  # keys of `rest_problem.TITLES` beside those of every operation


HEADERS: Mapping[str, str] = {
    "Idempotency-Key": "of your choice; the same key gives what it gave the first time",
    "If-Match": "the ETag that you have seen: 412 where it has changed since (RFC 9110 13.1.1)",
    "If-None-Match": "the ETag that you have: 304 where nothing has changed (RFC 9110 13.1.2)",
    "ETag": "the version of what is answered",
    "Location": "where what was made is",
    "Link": "the next page (RFC 8288)",
    "Content-Digest": "sha-256=:base64:, sha-512=:base64: of the body (RFC 9530): compared before it is kept",
    "Content-MD5": "MD5 of the body in base64 (RFC 1864): compared before it is kept",
}


@dataclass(slots=True)
class Visit:
    """A request that was let in."""

    request: Request
    context: InboundContext
    intake: Intake
    grant: Grant
    base: str  # path of the API
    uploads: Uploads
    body: Any = None  # of the operation's model
    query: Any = None
    parts: Mapping[str, str] = field(default_factory=dict)  # of the path
    upload: Upload | None = None  # that its signed address is of

    @property
    def sites(self) -> tuple[str, ...] | None:
        """The sites that it may see; None for every one."""
        return None if self.grant.site is None else (self.grant.site,)

    @property
    def submitter(self) -> Submitter:
        """The client, as what it gives is signed."""
        return Submitter(kind="client", name=self.grant.client_id)

    def site_for(self, named: str | None) -> str:
        """The site that something new is for."""
        site = named or self.grant.site
        if site is None:
            said = "a token for all sites does not say for which this is: name it"
            raise ProblemRaised("invalid", said, mistakes=[Mistake(pointer="/site", detail="is missing")])
        if not self.grant.is_for(site):
            raise ProblemRaised("forbidden", "this token is for another site")
        try:
            return self.context.sites.get(site).key
        except KeyError:
            mistake = Mistake(pointer="/site", detail="no site of the table has this key")
            raise ProblemRaised("invalid", "no such site", mistakes=[mistake]) from None

    @property
    def idempotency_key(self) -> str | None:
        """Of the request (draft-ietf-httpapi-idempotency-key-header); quoted or not."""
        shown = self.request.headers.getlist("idempotency-key")
        if not shown:
            return None
        key = shown[0].strip()
        if len(key) > 1 and key[0] == key[-1] == '"':
            key = key[1:-1]
        if len(shown) > 1 or not 1 <= len(key) <= 200 or not (key.isascii() and key.isprintable()):
            said = "must be one text of 1 to 200 printable ASCII characters"
            mistake = Mistake(header="Idempotency-Key", detail=said)
            raise ProblemRaised("malformed", f"Idempotency-Key: {said}", mistakes=[mistake])
        return key

    def if_match(self) -> set[str] | None:
        """The tags of which one must be the present one; None when any will do (RFC 9110 13.1.1)."""
        shown = self.request.headers.getlist("if-match")
        tags = {tag.strip() for line in shown for tag in line.split(",")}
        return None if not shown or "*" in tags else tags

    def has(self, tag: str) -> bool:
        """Whether the client has this version already (If-None-Match, RFC 9110 13.1.2)."""
        shown = ",".join(self.request.headers.getlist("if-none-match"))
        tags = {one.strip().removeprefix("W/") for one in shown.split(",")}
        return "*" in tags or tag in tags

    def fresh(self, body: BaseModel | None, tag: str, headers: Mapping[str, str] | None = None) -> Response:
        """An answer with its tag, or 304 to who has it already."""
        told = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization", **(headers or {})}
        if self.has(tag):
            return Response(status_code=304, headers=told)
        return answered(body, headers=told)

    async def shown(
        self, body: BaseModel, tag: str, action: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> Response:
        """As `fresh`, on the audit trail before its first byte leaves; a 304 shows nothing."""
        if not self.has(tag):
            await self.viewed(action, subject, detail)
        return self.fresh(body, tag)

    async def viewed(self, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
        """Put on the audit trail what the client is about to be shown."""
        await self.intake.orders.viewed(self.submitter, action, subject, detail)


def answered(body: BaseModel | None, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A body as JSON, kept by no cache unless its headers say so."""
    content = b"" if body is None else body.model_dump_json().encode()
    told = {"Cache-Control": "no-store", **(headers or {})}
    return Response(content, status, told, JSON if body is not None else None)


def tag_of(body: BaseModel) -> str:
    """A tag of the answer's own bytes."""
    return f'"{hashlib.sha256(body.model_dump_json().encode()).hexdigest()[:32]}"'
