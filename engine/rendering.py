"""The bytes of a delivery: rendered once, at its first claim, and kept.

Enter: the first delivery of a lane and the channel it leaves by. Leave: a payload. What the destination
holds of the same result is known only then, so only then are the bytes made; every later attempt,
whichever process makes it, sends exactly those.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.channel import Outbound
from engine.clock import Clock, at
from engine.decide import Decider
from engine.errors import Refused, TransformFailed
from engine.model import Acknowledged, DeliveryId, History, Part, Payload, Result, ResultStatus, Study
from engine.spool import fsync_folder, write_durably
from engine.store import deliveries, work
from engine.store.database import Database
from engine.stored_result import stored_result
from engine.transform import Steps, copy_instances, edit_result


class Rendering:
    """Makes payloads, and finds those made before, below the data folder."""

    def __init__(self, database: Database, clock: Clock, decider: Decider, data: Path) -> None:
        self._database = database
        self._clock = clock
        self._decider = decider
        self._data = data.absolute()
        self._payloads = self._data / "payloads"
        self._payloads.mkdir(mode=0o700, exist_ok=True)

    async def payload(self, channel: Outbound, head: Any) -> Payload:
        """What a delivery (its row) sends; durable before it is returned.

        Raises:
            Refused: an edit that its route asks for cannot be made on what it is of.
            TryAgain: a secret of such an edit is not there.
        """
        manifest = head.payload if head.payload is not None else await self._rendered(channel, head)
        return Payload(parts=tuple(self._part(entry) for entry in manifest))

    async def _rendered(self, channel: Outbound, head: Any) -> list[dict[str, Any]]:
        # Of this rendering alone: an engine that stalled must not write over what another has sent since.
        edited = self._payloads / head.delivery_id / f"edited-{uuid.uuid4().hex}"
        try:
            subject, history = await self._subject(head, edited)
            rendered = await asyncio.to_thread(self._render, channel, head.delivery_id, subject, history)
        except BaseException as error:
            shutil.rmtree(edited, ignore_errors=True)
            if isinstance(error, TransformFailed):
                raise Refused(f"transform: {error}", code="transform") from None
            raise
        manifest = await self._database.write(
            lambda c: deliveries.keep_payload(c, head.delivery_id, rendered)
        )
        if not any(edited in (self._data / entry["path"]).parents for entry in manifest):
            await asyncio.to_thread(shutil.rmtree, edited, ignore_errors=True)
        return list(manifest)

    async def _subject(self, head: Any, folder: Path) -> tuple[Result | Study, History]:
        earlier = await self._database.read(lambda c: deliveries.held_by(c, head.destination, head.lineage))
        told = [row for row in earlier if row.result_id is not None]
        reports = [row for row in told if row.status != ResultStatus.FAILED]
        standing = None
        if reports and reports[-1].status != ResultStatus.RETRACTED:
            standing = await self._told(reports[-1].result_id, reports[-1].transform)
        history = History(
            delivery_id=DeliveryId(head.delivery_id),
            rendered_at=at(self._clock.now()),
            acknowledged=tuple(_acknowledged(row) for row in told),
            standing=standing,
        )
        if head.result_id is not None:
            return await self._told(head.result_id, head.transform), history
        study = await self._decider.facts(head.study_id, head.study_revision)
        if head.transform:
            edited = await asyncio.to_thread(
                copy_instances, study.stored, folder, head.transform, self._decider.base, durable=True
            )
            study = replace(study, stored=edited)
        return study, history

    async def _told(self, result_id: str, transform: Steps) -> Result:
        """A result as its destination is told it."""
        document = await self._database.read(lambda c: work.result_document(c, result_id))
        result = stored_result(document, self._data)
        return await asyncio.to_thread(edit_result, result, transform, self._decider.base)

    def _render(
        self, channel: Outbound, delivery_id: str, subject: Result | Study, history: History
    ) -> list[dict[str, Any]]:
        payload = channel.render(subject, history)
        folder = self._payloads / delivery_id
        manifest = []
        for number, part in enumerate(payload.parts):
            if isinstance(part.content, bytes):
                folder.mkdir(mode=0o700, exist_ok=True)
                # By its content: an engine that stalled must not write over what another has sent since.
                digest = hashlib.sha256(part.content).hexdigest()
                path = folder / f"{number}-{digest[:16]}.part"
                write_durably(path, part.content)
            else:
                path = part.content.absolute()
            manifest.append(
                {
                    "identifier": part.identifier,
                    "media_type": part.media_type,
                    "path": str(path.relative_to(self._data)),
                    "facts": dict(part.facts),
                }
            )
        fsync_folder(self._payloads)
        return manifest

    def _part(self, entry: dict[str, Any]) -> Part:
        path = self._data / entry["path"]
        large = entry["media_type"] == "application/dicom"  # stays on disk, is streamed from there
        return Part(
            identifier=entry["identifier"],
            media_type=entry["media_type"],
            content=path if large else path.read_bytes(),
            facts=entry["facts"],
        )


def _acknowledged(row: Any) -> Acknowledged:
    parts = row.payload or []
    return Acknowledged(
        delivery_id=DeliveryId(row.delivery_id),
        status=ResultStatus(row.status),
        revision=row.study_revision,
        identifiers=tuple(part["identifier"] for part in parts),
        sop_class_uids=tuple(part["facts"].get("sop_class_uid", "") for part in parts),
        series_instance_uids=tuple(part["facts"].get("series_instance_uid", "") for part in parts),
        certain=bool(row.certain),
    )
