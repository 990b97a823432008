"""Results as signed events to an HTTP endpoint (Standard Webhooks 1.0; body shaped like CloudEvents 1.0).

Enter: a result. Leave: one POST answered 2xx. The event's id derives from the delivery and stays
the same over all attempts; time stamp and signature are made anew for each, so that a receiver
may refuse what is old and still recognise what it has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import timedelta
from time import time
from typing import Literal

from pydantic import Field

from channels.transport.http import Endpoint, Url, failure, request, reveal
from engine.channel import (
    Duration,
    Links,
    OutboundContext,
    OutboundSettings,
    OutboundType,
    Secret,
    Tls,
    no_links,
)
from engine.errors import Refused, TryAgain
from engine.model import Acknowledgement, Delivery, History, Part, Payload, Result, Study

_PREFIX = "whsec_"
_SHORTEST_KEY = 24  # bytes; Standard Webhooks asks for 24 to 64


class Settings(OutboundSettings):
    """An endpoint that takes signed events."""

    url: Url = Field(examples=["https://his.st-marys.example/hook"])
    """Where events are posted."""
    secret: Secret = Field(examples=[{"env": "STM_HOOK_SECRET"}])
    """Signing secret, `whsec_` and at least 24 bytes in base64, shared with the receiver."""
    tls: Tls | None = None
    """Whom to trust and how we show ourselves; the system's authorities when absent."""
    phi: Literal["none", "minimal", "full"] = "minimal"
    """What the receiver may see: `none` (UIDs and coded findings), `minimal` (with patient id and
    order numbers), `full` (with name, birth date, sex, requester and study description)."""
    link_expiry: Duration = Field(7 * 86400.0, ge=60, le=366 * 86400.0)
    """How long the links of an event open, counted from its rendering."""


class Webhook:
    """Renders by `channels.content.event`, delivers by POST."""

    def __init__(self, settings: Settings, links: Links = no_links) -> None:
        self._settings = settings
        self._links = links
        self._endpoint = Endpoint(settings.url, settings.tls, settings.timeout)

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The event of a result, its id derived from this delivery."""
        from channels.content import event  # late: a table is checked without it

        assert isinstance(subject, Result)  # the type carries results
        links = self._links(subject, history.rendered_at + timedelta(seconds=self._settings.link_expiry))
        return event.render(subject, history, self._settings.phi, links)

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        """Post each event; returns when the endpoint took all of them."""
        if not payload.parts:
            raise Refused("there is no event to send", code="empty")
        key = signing_key(reveal(self._settings.secret))
        status = ""
        for part in payload.parts:
            status = await self._post(part, key)
        return Acknowledgement(code=status, detail="event accepted")

    async def _post(self, part: Part, key: bytes) -> str:
        body = part.read()
        answer = await request(
            self._endpoint,
            "POST",
            headers={"Content-Type": part.media_type, **signed_headers(part.identifier, body, key)},
            body=body,
        )
        if 200 <= answer.status < 300:
            return str(answer.status)
        if answer.status == 410:
            words = f"{self._endpoint} answered 410: it takes no more events, ever"
            raise Refused(words, code="410", pause=True)
        raise failure(self._endpoint, answer)

    async def probe(self) -> None:
        """Ask with HEAD, which changes nothing; any answer is a sign of life."""
        await request(self._endpoint, "HEAD")


def signing_key(secret: str) -> bytes:
    """The key of a `whsec_…` secret; TryAgain when it is none, for that is mended here, not there."""
    try:
        if not secret.startswith(_PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        raise TryAgain("the signing secret is not whsec_ followed by base64", code="secret") from None
    if len(key) < _SHORTEST_KEY:
        raise TryAgain(f"the signing secret is shorter than {_SHORTEST_KEY} bytes", code="secret")
    return key


def signed_headers(webhook_id: str, body: bytes, key: bytes, now: float | None = None) -> dict[str, str]:
    """The three headers of one attempt: HMAC-SHA256 over id, time stamp (seconds) and body."""
    timestamp = str(int(time() if now is None else now))
    content = b".".join((webhook_id.encode(), timestamp.encode(), body))
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}


def build(settings: Settings, context: OutboundContext) -> Webhook:
    """Make the channel; opens nothing."""
    return Webhook(settings, context.links)


CHANNEL = OutboundType("webhook", "result", Settings, build)
