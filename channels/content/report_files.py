"""A result as files: formats and a template in, a payload with one part a file out.

Each part says in its facts where it is filed (`path`). Its identifier derives from the delivery, so that an
attempt that was cut off is known when the next one comes, and names no patient. A format that tells what it
replaces is given what the destination has of that format, and of no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from channels.content.report_path import path_of
from channels.content.standing import told_status
from engine.channel import ExportType
from engine.model import Acknowledged, History, Part, Payload, Result

DICOM = "application/dicom"


def render(result: Result, history: History, exports: Sequence[ExportType], template: str) -> Payload:
    """A file for each format; none for a format that has nothing to tell."""
    told = result.model_copy(update={"status": told_status(result, history)})
    parts: list[Part] = []
    for export in exports:
        path = path_of(template, told, export.suffix)
        if export.render is None:
            identifier = f"{history.delivery_id}{export.suffix}"
            parts.append(Part(identifier, export.media_type, export.export(told), {"path": path}))
            continue
        made = export.render(told, _of_format(history, export))
        parts += [replace(part, facts={**part.facts, "path": path}) for part in made.parts[:1]]
    return Payload(tuple(parts), f"{len(parts)} files: {', '.join(one.name for one in exports)}")


def _of_format(history: History, export: ExportType) -> History:
    """What was acknowledged, as this format knows it."""
    return replace(history, acknowledged=tuple(_parts_of(one, export) for one in history.acknowledged))


def _parts_of(told: Acknowledged, export: ExportType) -> Acknowledged:
    classes = told.sop_class_uids or ("",) * len(told.identifiers)
    wanted = [
        place
        for place, (identifier, sop_class) in enumerate(zip(told.identifiers, classes, strict=True))
        if bool(sop_class) == (export.media_type == DICOM) and not identifier.startswith(told.delivery_id)
    ]
    return replace(
        told,
        identifiers=tuple(told.identifiers[place] for place in wanted),
        sop_class_uids=tuple(classes[place] for place in wanted),
        series_instance_uids=tuple(
            told.series_instance_uids[place] for place in wanted if place < len(told.series_instance_uids)
        ),
    )
