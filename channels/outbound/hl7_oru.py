"""Results as HL7 v2 ORU^R01 over MLLP (HL7 v2.5.1 7.3.1; IHE AI Results leaves the profile open).

Enter: a result. Leave: one message, acknowledged AA under its own message control id. The id
derives from the delivery, so every attempt sends the same message and a receiver that keeps ids
takes it once.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, ValidationInfo, field_validator

from channels.content import hl7_override
from channels.content.hl7 import Charset, lacking_in
from channels.content.oru_profile import AccessionField, OptionalSegment, ProcessingId, Profile, Version
from channels.transport import mllp
from engine.channel import OutboundContext, OutboundSettings, OutboundType, Port, Tls
from engine.model import Acknowledgement, Delivery, History, Payload, Result, Study

_NAMESPACE = r"^[^|^~\\&\x00-\x1f]{0,227}$"  # an HD: no delimiters of HL7, which nobody means


_HEADER = ("sending_application", "sending_facility", "receiving_application", "receiving_facility")


class Settings(OutboundSettings):
    """A RIS, HIS or interface engine that takes ORU messages."""

    host: str = Field(pattern=r"^[A-Za-z0-9._:\-]{1,253}$", examples=["10.90.7.2"])
    """Address or name of the receiver."""
    port: Port = Field(examples=[2575])
    """TCP port of the receiver; 2575 is registered for HL7."""
    tls: Tls | None = None
    """TLS towards the receiver; plain MLLP when absent, for use inside a tunnel."""
    version: Version = "2.5.1"
    """HL7 version that MSH-12 announces."""
    charset: Charset = "UNICODE UTF-8"
    """Character set that MSH-18 announces and the message is encoded in."""
    accession_field: AccessionField = "OBR-18"
    """Field that carries the accession number."""
    sending_application: str = Field("PONS", pattern=_NAMESPACE)
    """MSH-3."""
    sending_facility: str = Field("", pattern=_NAMESPACE, examples=["VENDOR"])
    """MSH-4."""
    receiving_application: str = Field("", pattern=_NAMESPACE, examples=["RIS"])
    """MSH-5."""
    receiving_facility: str = Field("", pattern=_NAMESPACE, examples=["STM"])
    """MSH-6; the site's key when empty."""
    processing_id: ProcessingId = "P"
    """MSH-11: production, training or debugging."""
    include_pdf: bool = False
    """Whether the PDF report travels in an OBX of type ED."""
    segments: tuple[OptionalSegment, ...] = ("ORC", "NTE")
    """Optional segments to send; without NTE comments travel as observations."""
    set: dict[str, str] = Field(default_factory=dict, examples=[{"PID-3.4": "STM"}])
    """Fields to set: an address (`OBR-18`, `PID-3.4`) and text with facts in braces."""

    @field_validator("segments")
    @classmethod
    def _check_segments(
        cls, segments: tuple[OptionalSegment, ...], info: ValidationInfo
    ) -> tuple[OptionalSegment, ...]:
        if len(segments) != len(frozenset(segments)):
            raise ValueError("a segment is named once")
        if "ORC" not in segments and info.data.get("accession_field") == "ORC-3":
            raise ValueError("accession_field is ORC-3, so ORC cannot be left out")
        return segments

    @field_validator("set")
    @classmethod
    def _check_set(cls, fields: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        version, segments = info.data.get("version", "2.5.1"), info.data.get("segments", ("ORC",))
        for override in _overrides(fields, version):
            if override.segment == "ORC" and "ORC" not in segments:
                raise ValueError("a field of ORC is set, but `segments` leaves ORC out")
        return fields


def _overrides(fields: dict[str, str], version: str) -> tuple[hl7_override.Override, ...]:
    """A component after the field it is in, whatever their order in the table."""
    parsed = [hl7_override.parse(address, template, version) for address, template in fields.items()]
    return tuple(sorted(parsed, key=lambda one: (one.segment, one.field, one.component)))


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

    def _profile(self) -> Profile:
        return Profile(
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
            segments=self._settings.segments,
            overrides=_overrides(self._settings.set, self._settings.version),
        )

    def cautions(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Letters of the site and of the table's own texts that the character set lacks."""
        settings, charset = self._settings, self._settings.charset
        people = "the site's name, so names of its people reach the receiver with ? there"
        texts: list[tuple[tuple[str | int, ...], str, str]] = [(("charset",), self._site.name, people)]
        ours = "this text, and sends ? instead"
        texts += [((field,), getattr(settings, field), ours) for field in _HEADER]
        texts += [(("set", address), text, ours) for address, text in settings.set.items()]
        for location, text, consequence in texts:
            lacking = lacking_in(charset, text)
            if lacking:
                yield (
                    location,
                    f"{charset} lacks {' '.join(lacking)} of {consequence}; UNICODE UTF-8 has all letters",
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
