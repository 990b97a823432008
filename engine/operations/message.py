"""What a delivery sends, as text that people can read, with the patient behind a shield until he is revealed.

Enter: one piece of a payload: its media type and its file. Leaves: a `Message`. Bytes are the very ones that
every attempt sends. What no element of a format tells apart (plain text, XML, mail) is shielded as a whole; a
picture or a PDF is not text, and nothing of it is shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from engine.delivery_model import DeliveryRow, Message, MessageLine, MessagePart
from engine.operations import dicom_lines, hl7_lines, json_lines
from engine.operations_model import OperationRefused, OperationRefusedReason
from engine.patient_attributes import SHIELD

LARGEST = 32 << 20  # bytes of a message that is read; DICOM is read from its file, without pixels
MOST = 3000  # lines that are shown
_LINE = 2000  # characters of a line of text

Form = Literal["hl7", "json", "dicom", "text", "none"]


def message(row: DeliveryRow, part: MessagePart, file: Path, *, revealed: bool) -> Message:
    """One piece, as text; reads its file.

    Raises:
        OperationRefused: the file was removed by retention.
    """
    form = form_of(part.media_type)
    if part.size is None:
        gone = "what this delivery sends is not kept any more: retention has removed it"
        raise OperationRefused(OperationRefusedReason.NOT_FOUND, gone)
    if form != "dicom" and part.size > LARGEST:
        form = "none"
    try:
        found = list(itertools.islice(_lines(form, file, revealed=revealed), MOST + 1))
    except ValueError:  # not of the format that its media type says
        form, found = "none", []
    except OSError:
        gone = "what this delivery sends cannot be read: see that the data folder is there"
        raise OperationRefused(OperationRefusedReason.NOT_FOUND, gone) from None
    shown = tuple(found[:MOST])
    return Message(row, part, form, shown, any(line.shielded for line in shown), len(found) > MOST)


def form_of(media_type: str) -> Form:
    """How a media type is shown."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind == "application/dicom":
        return "dicom"
    if "hl7-v2" in kind or kind == "x-application/hl7-v2+er7":
        return "hl7"
    if kind == "application/json" or kind.endswith("+json"):
        return "json"
    if kind.startswith("text/") or kind in ("application/xml", "message/rfc822") or kind.endswith("+xml"):
        return "text"
    return "none"


def _lines(form: Form, file: Path, *, revealed: bool) -> Iterator[MessageLine]:
    if form == "dicom":
        return dicom_lines.lines(file, revealed=revealed)
    if form == "hl7":
        return hl7_lines.lines(file.read_bytes(), revealed=revealed)
    if form == "json":
        return json_lines.lines(file.read_bytes(), revealed=revealed)
    if form == "text":
        return _text(file.read_bytes(), revealed=revealed)
    return iter(())


def _text(content: bytes, *, revealed: bool) -> Iterator[MessageLine]:
    for line in content.decode("utf-8", "replace").splitlines():
        hidden = bool(line.strip()) and not revealed
        yield MessageLine(SHIELD if hidden else line[:_LINE], shielded=hidden)
