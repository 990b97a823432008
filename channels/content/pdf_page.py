"""A result as a PDF page for people: what a DICOM Encapsulated PDF holds, without the DICOM."""

from __future__ import annotations

from channels.content.pdf import render_pdf
from engine.channel import ExportType
from engine.model import Result


def export(result: Result) -> bytes:
    """The page, dated when the result was produced: the same result gives the same bytes."""
    return render_pdf(result, result.produced_at)


EXPORT = ExportType("pdf", "application/pdf", ".pdf", export)
