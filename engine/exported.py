"""A result in a file format as somebody gets it who asks: pure, the same versions give the same bytes.

Enter: a format and every version of a result up to the one that is wanted. Leaves: a file. A format that
tells what it replaces (a structured report its predecessor, a rejection note what it rejects) is given the
earlier versions as this made them, under identifiers of their own: whoever fetched those recognises them.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.channel import ExportType
from engine.model import Acknowledged, DeliveryId, History, Payload, Result


def exported(export: ExportType, versions: Sequence[Result]) -> bytes | None:
    """The last of the versions; None where there is nothing to tell of it (a retraction of nothing)."""
    if export.render is None:
        return export.export(versions[-1])
    before: tuple[Acknowledged, ...] = ()
    payload = Payload(())
    for one in versions:
        made_as = DeliveryId(f"result {one.result_id}")
        payload = export.render(one, History(made_as, one.produced_at, before))
        before += (_told(made_as, one, payload),)
    return payload.parts[0].read() if payload.parts else None


def _told(made_as: DeliveryId, version: Result, payload: Payload) -> Acknowledged:
    parts = payload.parts
    return Acknowledged(
        delivery_id=made_as,
        status=version.status,
        revision=version.study.revision,
        identifiers=tuple(part.identifier for part in parts),
        sop_class_uids=tuple(part.facts.get("sop_class_uid", "") for part in parts),
        series_instance_uids=tuple(part.facts.get("series_instance_uid", "") for part in parts),
    )
