"""A result as a DICOM structured report in a file, for who fetches it: the object that a PACS is sent.

Enter: a result, and what was told of its earlier versions. Leave: a Part 10 file (PS3.10) with the report of
`channels.content.sr`, or for a retracted result the rejection note on the reports before it.
"""

from __future__ import annotations

from channels.content import rejection_note, sr
from engine.channel import ExportType
from engine.model import DeliveryId, History, Payload, Result, ResultStatus


def export(result: Result) -> bytes:
    """The report as if nothing had been told before: final where it is a correction.

    Raises:
        ValueError: a retracted result, which tells of nothing but earlier reports.
    """
    if result.status is ResultStatus.RETRACTED:
        raise ValueError("a retraction is told to who has the report")
    history = History(DeliveryId(f"result {result.result_id}"), result.produced_at)
    return sr.render(result, history).parts[0].read()


def render(result: Result, history: History) -> Payload:
    """The report, or the note that rejects it; no part where there is nothing to reject."""
    if result.status is ResultStatus.RETRACTED:
        return rejection_note.render(result, history)
    return sr.render(result, history)


EXPORT = ExportType("sr", "application/dicom", ".dcm", export, render)
