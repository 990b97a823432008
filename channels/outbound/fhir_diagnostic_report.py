"""Results as FHIR DiagnosticReport and what belongs to it (http.html, bundle.html#transaction).

Enter: a result. Leave: a transaction Bundle, a DocumentReference or a DiagnosticReport that the
server has taken: 200 or 201, for a Bundle on every entry. Before a plain create is repeated, the
server is asked for the identifier it would create, so that a lost answer makes no second report.

What the server writes in OperationOutcome.diagnostics or text is free and may quote the patient:
only issue codes and element paths are told on.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field

from channels.outbound.http_authentication import (
    BY_NAME,
    Basic,
    Bearer,
    NoAuthentication,
    authorization,
)
from channels.outbound.smart_backend import SmartBackend, Tokens, public_key
from channels.transport.http import Answer, Endpoint, Url, failure, request
from engine.channel import OutboundContext, OutboundSettings, OutboundType, Tls
from engine.errors import PonsError, Refused, TryAgain
from engine.model import Acknowledgement, Delivery, History, Part, Payload, Result, Study

_MEDIA_TYPE = "application/fhir+json"
_TAKEN = (200, 201)
_ISSUE_CODE = re.compile(r"[a-z\-]{2,32}")  # ValueSet issue-type
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9.\[\]]{0,120}")  # OperationOutcome.issue.expression
_STATUS = re.compile(r"[1-5]\d\d")


Authentication = Annotated[
    Annotated[NoAuthentication | Bearer | Basic | SmartBackend, Field(discriminator="type")], BY_NAME
]


class Settings(OutboundSettings):
    """A FHIR server that takes reports."""

    url: Url = Field(examples=["https://fhir.st-marys.example/r4"])
    """Base of the FHIR service, for example https://fhir.example/r4."""
    mode: Literal["upsert", "document", "report"] = "upsert"
    """What the server can do: a transaction with conditional writes, or a plain create of a
    DocumentReference or a DiagnosticReport."""
    fhir_version: Literal["R4", "R5"] = "R4"
    """Version of FHIR that the server speaks."""
    include_pdf: bool = False
    """Whether an upserted report carries the PDF; a document or a single report always does."""
    tls: Tls | None = None
    """Whom to trust and how we show ourselves; the system's authorities when absent."""
    auth: Authentication = NoAuthentication()
    """How we show who we are."""


class FhirDiagnosticReport:
    """Renders by `channels.content.fhir`, delivers by HTTP."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._endpoint = Endpoint(settings.url, settings.tls, settings.timeout)
        auth = settings.auth
        self._tokens = (
            Tokens(auth, settings.tls, settings.timeout) if isinstance(auth, SmartBackend) else None
        )

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """What the server needs to verify our assertions; nothing where we make none."""
        auth = self._settings.auth
        return [public_key(auth)] if isinstance(auth, SmartBackend) else []

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The resources of a result, their identifiers derived from its lineage and this delivery."""
        from channels.content import fhir  # late: a table is checked without it

        assert isinstance(subject, Result)  # the type carries results
        return fhir.render(
            subject,
            history,
            self._settings.mode,
            self._settings.fhir_version,
            include_pdf=self._settings.include_pdf,
        )

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        """Post each part; returns when the server took everything in it."""
        if not payload.parts:
            raise Refused("there is no resource to send", code="empty")
        acknowledgement = Acknowledgement(code="")
        try:
            async with asyncio.timeout(self._settings.timeout):
                for part in payload.parts:
                    acknowledgement = await self._post(part, delivery)
        except TimeoutError as error:
            raise TryAgain(
                f"{self._endpoint} was too slow for {len(payload.parts)} requests", code="timeout"
            ) from error
        return acknowledgement

    async def _post(self, part: Part, delivery: Delivery) -> Acknowledgement:
        body = part.read()
        resource = json.loads(body)
        if resource["resourceType"] == "Bundle":
            return self._read_transaction(resource, await self._send("POST", "", body))
        path = f"/{resource['resourceType']}"
        identifier = _search(part)
        if delivery.attempt > 1 and await self._holds(path, identifier):
            return Acknowledgement(code="200", detail="an earlier attempt had been taken")
        answer = await self._send("POST", path, body, {"If-None-Exist": f"identifier={identifier}"})
        if answer.status not in _TAKEN:
            raise self._failure(answer)
        return Acknowledgement(code=str(answer.status), detail=f"{resource['resourceType']} taken")

    async def _send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; a 401 is met once with a new token, or with the one the file holds by now."""
        common = {"Accept": _MEDIA_TYPE, **(headers or {})}
        if body is not None:
            common["Content-Type"] = _MEDIA_TYPE
        credentials = await self._authorization()
        answer = await request(self._endpoint, method, path, headers={**common, **credentials}, body=body)
        if answer.status == 401 and isinstance(self._settings.auth, Bearer | SmartBackend):
            renewed = await self._authorization(rejected=credentials["Authorization"])
            if renewed != credentials:
                answer = await request(self._endpoint, method, path, headers={**common, **renewed}, body=body)
        return answer

    async def _authorization(self, rejected: str = "") -> dict[str, str]:
        auth = self._settings.auth
        if not isinstance(auth, SmartBackend):
            return authorization(auth)
        assert self._tokens is not None
        token = await self._tokens.token(rejected.removeprefix("Bearer "))
        return {"Authorization": f"Bearer {token}"}

    async def _holds(self, path: str, identifier: str) -> bool:
        answer = await self._send("GET", f"{path}?identifier={identifier}&_summary=count")
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict):
            raise TryAgain(
                f"{self._endpoint} answered {answer.status} when asked for what an earlier attempt left",
                code=str(answer.status),
                after=answer.retry_after,
            )
        total = document.get("total")
        return bool(total if isinstance(total, int) else document.get("entry"))

    def _read_transaction(self, bundle: dict[str, Any], answer: Answer) -> Acknowledgement:
        """Every entry of the answer must have been taken: 200 on the whole says nothing of its parts."""
        if answer.status not in _TAKEN:
            raise self._failure(answer)
        document = answer.json()
        entries = document.get("entry") if isinstance(document, dict) else None
        if not isinstance(entries, list) or len(entries) != len(bundle["entry"]):
            raise TryAgain(
                f"{self._endpoint} answered {answer.status} but not for each entry of the transaction",
                code=str(answer.status),
            )
        failures = []
        for number, entry in enumerate(entries):
            status, outcome = _entry_response(entry)
            if status not in _TAKEN:
                failures.append(self._failure(Answer(status, answer.headers), outcome, f"entry {number}"))
        for kind in (TryAgain, Refused):
            for failure_ in failures:
                if isinstance(failure_, kind):
                    raise failure_
        return Acknowledgement(code=str(answer.status), detail=f"{len(entries)} entries taken")

    def _failure(self, answer: Answer, outcome: object = None, where: str = "") -> PonsError:
        """409 is worth another try: somebody else wrote at the same time."""
        issues = _issues(answer.json() if outcome is None else outcome)
        also = " ".join(filter(None, (where, ", ".join(issues))))
        return failure(self._endpoint, answer, also=also, transient=(409,))

    async def probe(self) -> None:
        """Read the capability statement."""
        answer = await self._send("GET", "/metadata")
        if answer.status != 200:
            raise failure(self._endpoint, answer)


def _search(part: Part) -> str:
    """The identifier of a part as a search (`system|value`, http.html#ccreate)."""
    return quote(f"{part.facts['identifier_system']}|{part.identifier}", safe=":|/")


def _entry_response(entry: object) -> tuple[int, object]:
    response = entry.get("response") if isinstance(entry, dict) else None
    status = str(response.get("status", "")) if isinstance(response, dict) else ""
    found = _STATUS.match(status)
    return int(found[0]) if found else 0, response.get("outcome") if isinstance(response, dict) else None


def _issues(outcome: object) -> list[str]:
    """Codes and places of an OperationOutcome, at most three."""
    issues = outcome.get("issue") if isinstance(outcome, dict) else None
    told = []
    for issue in issues if isinstance(issues, list) else []:
        code = issue.get("code") if isinstance(issue, dict) else None
        if not isinstance(code, str) or not _ISSUE_CODE.fullmatch(code):
            continue
        places = issue.get("expression")
        place = places[0] if isinstance(places, list) and places else ""
        told.append(f"{code} at {place}" if isinstance(place, str) and _PATH.fullmatch(place) else code)
    return told[:3]


def build(settings: Settings, context: OutboundContext) -> FhirDiagnosticReport:
    """Make the channel; opens nothing."""
    return FhirDiagnosticReport(settings)


CHANNEL = OutboundType("fhir_diagnostic_report", "result", Settings, build)
