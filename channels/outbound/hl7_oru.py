"""Results as HL7 v2 ORU^R01 over MLLP (HL7 v2.5.1 7.3.1; IHE AI Results leaves the profile open).

Enter: a result. Leave: one message, acknowledged AA under its own message control id. The id
derives from the delivery, so every attempt sends the same message and a receiver that keeps ids
takes it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from channels.transport import mllp
from engine.channel import OutboundContext, OutboundSettings, OutboundType, Port, Tls
from engine.model import Acknowledgement, Delivery, History, Payload, Result, Study

if TYPE_CHECKING:
    from channels.content import oru

_NAMESPACE = r"^[^|^~\\&\x00-\x1f]{0,227}$"  # an HD: no delimiters of HL7, which nobody means


class Settings(OutboundSettings):
    """A RIS, HIS or interface engine that takes ORU messages."""

    host: str = Field(pattern=r"^[A-Za-z0-9._:\-]{1,253}$")
    """Address or name of the receiver."""
    port: Port
    """TCP port of the receiver; 2575 is registered for HL7."""
    tls: Tls | None = None
    """TLS towards the receiver; plain MLLP when absent, for use inside a tunnel."""
    version: Literal["2.3.1", "2.4", "2.5.1"] = "2.5.1"
    """HL7 version that MSH-12 announces."""
    charset: Literal["UNICODE UTF-8", "8859/1", "8859/15", "ASCII"] = "UNICODE UTF-8"
    """Character set that MSH-18 announces and the message is encoded in."""
    accession_field: Literal["OBR-18", "OBR-20", "OBR-3", "ORC-3"] = "OBR-18"
    """Field that carries the accession number."""
    sending_application: str = Field("PONS", pattern=_NAMESPACE)
    """MSH-3."""
    sending_facility: str = Field("", pattern=_NAMESPACE)
    """MSH-4."""
    receiving_application: str = Field("", pattern=_NAMESPACE)
    """MSH-5."""
    receiving_facility: str = Field("", pattern=_NAMESPACE)
    """MSH-6; the site's key when empty."""
    processing_id: Literal["P", "T", "D"] = "P"
    """MSH-11: production, training or debugging."""
    include_pdf: bool = False
    """Whether the PDF report travels in an OBX of type ED."""


class Hl7Oru:
    """Renders by `channels.content.oru`, delivers by MLLP."""

    def __init__(self, settings: Settings, context: OutboundContext) -> None:
        self._settings = settings
        self._site = context.site
        self._receiver = mllp.Receiver(settings.host, settings.port, settings.tls, settings.timeout)

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The message of a result, its message control id derived from this delivery."""
        from channels.content import oru  # late: a table is checked without it

        assert isinstance(subject, Result)  # the type carries results
        return oru.render(subject, history, self._profile())

    def _profile(self) -> oru.Profile:
        from channels.content import oru

        return oru.Profile(
            version=self._settings.version,
            sending_application=self._settings.sending_application,
            sending_facility=self._settings.sending_facility,
            receiving_application=self._settings.receiving_application,
            receiving_facility=self._settings.receiving_facility or self._site.key,
            charset=self._settings.charset,
            accession_field=self._settings.accession_field,
            timezone=self._site.timezone,
            processing_id=self._settings.processing_id,
            include_pdf=self._settings.include_pdf,
        )

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        """Send and wait for the acknowledgement of this very message."""
        return await mllp.send(self._receiver, payload.parts)

    async def probe(self) -> None:
        """Connect and hang up."""
        await mllp.probe(self._receiver)


def build(settings: Settings, context: OutboundContext) -> Hl7Oru:
    """Make the channel; opens nothing."""
    return Hl7Oru(settings, context)


CHANNEL = OutboundType("hl7_oru", "result", Settings, build)
