"""A result as one PNG picture: the processor's first, or else its findings written out.

The standing and the disclaimer are burned in, as they are in a DICOM Secondary Capture.
"""

from __future__ import annotations

from io import BytesIO

from channels.content import sc
from engine.channel import ExportType
from engine.model import Result


def export(result: Result) -> bytes:
    """The picture as a PNG file."""
    buffer = BytesIO()
    sc.whole_picture(result).save(buffer, "png")
    return buffer.getvalue()


EXPORT = ExportType("png", "image/png", ".png", export)
