"""Studies onward by STOW-RS (PS3.18 10.5), byte for byte as they came or as the route edited them.

Enter: a stable study revision. Leave: every instance of it at the DICOMweb server, each accounted
for in the server's answer.
"""

from __future__ import annotations

from pydantic import Field

from channels.outbound.http_authentication import Authentication, NoAuthentication, authorization
from channels.outbound.study_parts import study_payload
from channels.transport import dicomweb
from channels.transport.http import Endpoint, Url
from engine.channel import Duration, OutboundContext, OutboundSettings, OutboundType, Tls
from engine.model import Acknowledgement, Delivery, History, Payload, Result, Study


class Settings(OutboundSettings):
    """A DICOMweb server that takes studies."""

    url: Url = Field(examples=["https://archive.st-marys.example/dicomweb"])
    """Base of the DICOMweb service; `/studies` is appended."""
    tls: Tls | None = None
    """Whom to trust and how we show ourselves; the system's authorities when absent."""
    auth: Authentication = NoAuthentication()
    """How we show who we are."""
    timeout: Duration = 600.0
    """How long one request (64 MB, or a single larger instance) may take before its outcome counts as
    unknown."""


class StowForward:
    """Names the stored files, delivers by STOW-RS."""

    def __init__(self, settings: Settings) -> None:
        self._endpoint = Endpoint(settings.url, settings.tls, settings.timeout)
        self._authentication = settings.auth

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The study's files as they are; nothing is copied."""
        assert isinstance(subject, Study)  # the type carries studies
        return study_payload(subject)

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        """Store every part; returns when the server has answered for all of them."""
        headers = authorization(self._authentication)
        return await dicomweb.store(self._endpoint, payload.parts, headers=headers)

    async def probe(self) -> None:
        """Ask for a study that nobody has."""
        await dicomweb.probe(self._endpoint, headers=authorization(self._authentication))


def build(settings: Settings, context: OutboundContext) -> StowForward:
    """Make the channel; opens nothing."""
    return StowForward(settings)


CHANNEL = OutboundType("stow_forward", "study", Settings, build)
