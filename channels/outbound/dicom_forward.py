"""Studies onward by C-STORE (PS3.4 B), byte for byte as they came or as the route edited them.

Enter: a stable study revision. Leave: every instance of it at the destination, in the transfer
syntax it came in. Where the peer does not take that, it is sent uncompressed if nothing is lost by it
(see `channels.transport.reencoding`), and refused with the reason if something would be.
"""

from __future__ import annotations

from typing import Literal

from channels.outbound.dicom_destination import DicomDestination, DicomSettings
from channels.outbound.study_parts import study_payload
from channels.transport.inquiry import not_taken
from channels.transport.reencoding import Encoding
from engine.channel import Duration, OutboundContext, OutboundType
from engine.model import History, Payload, Result, Study


class Settings(DicomSettings):
    """A PACS, archive or workstation that takes studies."""

    timeout: Duration = 600.0
    """How long one instance may take to be answered before the outcome counts as unknown."""
    reencode: Literal["lossless", "never"] = "lossless"
    """Where the peer does not take the transfer syntax of an image: `lossless` sends uncompressed what loses
    nothing by it, `never` refuses it."""


class DicomForward(DicomDestination):
    """Names the stored files, delivers by C-STORE."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.encoding = Encoding.LOSSLESS if settings.reencode == "lossless" else Encoding.AS_FILED

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The study's files as they are; nothing is copied."""
        assert isinstance(subject, Study)  # the type carries studies
        return study_payload(subject)

    async def inquire(self) -> list[str]:
        """Image SOP Classes and transfer syntaxes that the peer does not accept."""
        return await not_taken(self._peer, self.encoding)


def build(settings: Settings, context: OutboundContext) -> DicomForward:
    """Make the channel; opens nothing."""
    return DicomForward(settings)


CHANNEL = OutboundType("dicom_forward", "study", Settings, build)
