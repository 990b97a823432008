"""Results as DICOM structured reports (PS3.16 TID 1500).

Enter: a result. Leave: a structured report at the destination, in the study's own
hierarchy, acknowledged by C-STORE (PS3.4 B).
"""

from __future__ import annotations

from channels.outbound.dicom_destination import DicomDestination, DicomSettings
from engine.channel import OutboundContext, OutboundType
from engine.model import History, Payload, Result, ResultStatus, Study


class Settings(DicomSettings):
    """A PACS or archive that takes structured reports."""


class DicomSr(DicomDestination):
    """Renders by `channels.content.sr`, delivers by C-STORE."""

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The structured report of a result, or the rejection note of a retracted one."""
        from channels.content import rejection_note, sr  # late: slower to import than to check a table

        assert isinstance(subject, Result)  # the type carries results
        if subject.status is ResultStatus.RETRACTED:
            return rejection_note.render(subject, history)
        return sr.render(subject, history)


def build(settings: Settings, context: OutboundContext) -> DicomSr:
    """Make the channel; opens nothing."""
    return DicomSr(settings)


CHANNEL = OutboundType("dicom_sr", "result", Settings, build)
