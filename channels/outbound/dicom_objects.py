"""DICOM objects that a processor wrote, on to a PACS by C-STORE (PS3.4 B).

Enter: a result with `application/dicom` artefacts. Leave: each of them at the destination, byte for
byte in the transfer syntax it was written in, after `channels.content.processor_object` has checked
that it belongs to the study and the patient of the result.
"""

from __future__ import annotations

from channels.outbound.dicom_destination import DicomDestination, DicomSettings
from channels.transport.reencoding import Encoding
from engine.channel import Duration, OutboundContext, OutboundType
from engine.model import History, Payload, Result, ResultStatus, Study


class Settings(DicomSettings):
    """A PACS or archive that takes the objects a processor makes, such as segmentations."""

    timeout: Duration = 600.0
    """How long one object may take to be answered before the outcome counts as unknown."""


class DicomObjects(DicomDestination):
    """Checks by `channels.content.processor_object`, delivers by C-STORE."""

    encoding = Encoding.AS_FILED

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The objects as they were written, or the rejection note of a retracted result."""
        from channels.content import processor_object, rejection_note  # late: slower than a check

        assert isinstance(subject, Result)  # the type carries results
        if subject.status is ResultStatus.RETRACTED:
            return rejection_note.render(subject, history)
        return processor_object.render(subject, history)


def build(settings: Settings, context: OutboundContext) -> DicomObjects:
    """Make the channel; opens nothing."""
    return DicomObjects(settings)


CHANNEL = OutboundType("dicom_objects", "result", Settings, build)
