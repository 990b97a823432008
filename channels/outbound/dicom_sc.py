"""Results as Secondary Capture images (PS3.3 A.8).

Enter: a result. Leave: its images and a summary page at the destination, in the study's own
hierarchy, acknowledged by C-STORE (PS3.4 B).
"""

from __future__ import annotations

from channels.outbound.dicom_destination import DicomDestination, DicomSettings
from engine.channel import OutboundContext, OutboundType
from engine.model import History, Payload, Result, ResultStatus, Study


class Settings(DicomSettings):
    """A PACS or archive that takes Secondary Capture images."""


class DicomSc(DicomDestination):
    """Renders by `channels.content.sc`, delivers by C-STORE."""

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The images of a result, or the rejection note of a retracted one."""
        from channels.content import rejection_note, sc  # late: slower to import than to check a table

        assert isinstance(subject, Result)  # the type carries results
        if subject.status is ResultStatus.RETRACTED:
            return rejection_note.render(subject, history)
        return sc.render(subject, history)


def build(settings: Settings, context: OutboundContext) -> DicomSc:
    """Make the channel; opens nothing."""
    return DicomSc(settings)


CHANNEL = OutboundType("dicom_sc", "result", Settings, build)
