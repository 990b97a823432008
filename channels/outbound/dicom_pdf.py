"""Results as DICOM Encapsulated PDF (PS3.3 A.45.1).

Enter: a result. Leave: an encapsulated PDF report at the destination, in the study's own
hierarchy, acknowledged by C-STORE (PS3.4 B).
"""

from __future__ import annotations

from channels.outbound.dicom_destination import DicomDestination, DicomSettings
from engine.channel import OutboundContext, OutboundType
from engine.model import History, Payload, Result, ResultStatus, Study


class Settings(DicomSettings):
    """A PACS or archive that takes Encapsulated PDF."""


class DicomPdf(DicomDestination):
    """Renders by `channels.content.pdf`, delivers by C-STORE."""

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The PDF report of a result, or the rejection note of a retracted one."""
        from channels.content import pdf, rejection_note  # late: slower to import than to check a table

        assert isinstance(subject, Result)  # the type carries results
        if subject.status is ResultStatus.RETRACTED:
            return rejection_note.render(subject, history)
        return pdf.render(subject, history)


def build(settings: Settings, context: OutboundContext) -> DicomPdf:
    """Make the channel; opens nothing."""
    return DicomPdf(settings)


CHANNEL = OutboundType("dicom_pdf", "result", Settings, build)
