"""Send instances by STOW-RS on request of an operator (PS3.18 10.5), each once, and tell of each.

Enter: the URL of a DICOMweb service, or the one that a channel of the table names, and candidates. Leave:
what the server said of each, request by request (100 instances or 64 MB). A request that failed as a whole
has failed for all it carried, and the next is made all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from channels.inbound.stow_rs import StowRsSettings
from channels.outbound import stow_forward
from channels.outbound.http_authentication import Authentication, NoAuthentication, authorization
from channels.senders.c_store import looked_at
from channels.transport import dimse_status
from channels.transport.dicomweb import Outcome as Answer
from channels.transport.dicomweb import batches, post
from channels.transport.dimse_status import Verdict
from channels.transport.http import Endpoint, Url
from engine.channel import Candidate, Duration, Listener, Openable, Outcome, SenderType, Settings, Tls, Told
from engine.errors import Refused, TryAgain

_LOST_IN_A_ROW = 3  # requests without an answer, after which the rest is not offered


class StowRsSender(Settings):
    """A server that takes instances by STOW-RS."""

    url: Url = Field(examples=["https://archive.st-marys.example/dicomweb"])
    """Base of the DICOMweb service; `/studies` is appended."""
    tls: Tls | None = None
    """Whom to trust and how we show ourselves; the system's authorities when absent."""
    auth: Authentication = NoAuthentication()
    """How we show who we are."""
    timeout: Duration = 600.0
    """How long one request may take."""
    associations: int = Field(1, ge=1, le=64)
    """Requests at once."""


class StowRs:
    """Sends by STOW-RS."""

    def __init__(self, settings: StowRsSender) -> None:
        self._endpoint = Endpoint(settings.url, settings.tls, settings.timeout)
        self._authentication = settings.auth
        self._requests = settings.associations

    def __str__(self) -> str:
        return f"{self._endpoint.url.rstrip('/')}/studies"

    def look(self, name: str, content: Path | Openable) -> Candidate:
        """Read the file meta."""
        return looked_at(name, content)

    async def send(self, candidates: Sequence[Candidate], listener: Listener) -> None:
        """Offer each once, in as many requests at a time as are wanted."""
        of = {id(one.head): one for one in candidates}
        work = iter([[of[id(file)] for file in batch] for batch in batches([one.head for one in candidates])])
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._requests):
                tasks.create_task(self._requested(work, listener))

    async def _requested(self, work: Iterator[list[Candidate]], listener: Listener) -> None:
        """One request after the other, until there is nothing left to ask."""
        lost = 0
        for batch in work:
            try:
                if lost >= _LOST_IN_A_ROW:
                    raise TryAgain(
                        f"not offered: {_LOST_IN_A_ROW} requests in a row had no answer", code="connection"
                    )
                headers = authorization(self._authentication)
                files = [one.head for one in batch]
                answer = await post(self._endpoint, files, headers, listener.moved)
            except (TryAgain, Refused) as error:
                lost += error.code in ("connection", "timeout")
                for one in batch:
                    listener.told(Told(one, Outcome.FAILED, error.code, str(error)))
                continue
            lost = 0
            for one in batch:
                listener.told(_told(one, answer))


def _told(candidate: Candidate, answer: Answer) -> Told:
    uid = candidate.sop_instance_uid
    reason = answer.failures.get(uid)
    if reason is None:
        if (warning := answer.warnings.get(uid)) is None:
            return Told(candidate, Outcome.SENT, str(answer.status))
        return Told(candidate, Outcome.WARNING, dimse_status.code(warning), dimse_status.describe(warning))
    # 0111 is how some servers acknowledge a repetition.
    kept = dimse_status.verdict(reason) is Verdict.WARNING
    outcome = Outcome.WARNING if kept else Outcome.FAILED
    return Told(candidate, outcome, dimse_status.code(reason), dimse_status.describe(reason))


def _of_target(target: str) -> Mapping[str, Any] | None:
    return {"url": target} if target.lower().startswith(("http://", "https://")) else None


def _of_channel(settings: Any, http: str) -> Mapping[str, Any] | None:
    if isinstance(settings, stow_forward.Settings):
        return {"url": settings.url, "tls": settings.tls, "auth": settings.auth}
    if isinstance(settings, StowRsSettings):
        host, _, port = http.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}.get(host, host)  # noqa: S104
        return {"url": f"http://{host}:{port}{settings.path}"}
    return None


SENDER = SenderType("stow_rs", StowRsSender, StowRs, _of_target, _of_channel)
