"""One complete upload to its end: its files in, an order bound to its study and every instance of it out.

An upload is marked as taken only when everything in it is durable: who is killed before that takes it once
more, and the engine knows every instance that it has. The order is given the sidecar's metadata (its own
count more) and bound before the first instance lands, so nothing is ever decided without it. What cannot be
taken is told to the order and to whoever asks for the upload, and nothing of it is kept.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from channels.inbound.uploads.folder import UploadFolder
from channels.inbound.uploads.ledger import Ledger
from channels.inbound.uploads.refusal import Reason, UploadRefused
from channels.inbound.uploads.settings import UploadSettings
from channels.inbound.uploads.taking import Taken, in_thread, take_in
from channels.inbound.uploads.upload import Failure, Upload, UploadState
from engine.channel import InboundContext, Intake, Package, open_package
from engine.errors import Busy, OrderRefused, OrderRefusedReason, PackageRefused, PonsError, Rejected

logger = logging.getLogger("pons.uploads")

_TRIES = 5  # to change an order that others change too


class Ingestion:
    """Takes uploads in, one by one; whoever calls keeps others from taking the same."""

    def __init__(
        self,
        settings: UploadSettings,
        context: InboundContext,
        intake: Intake,
        ledger: Ledger,
        clock: Callable[[], float],
        counts: Counter[str],
    ) -> None:
        self._settings = settings
        self._context = context
        self._intake = intake
        self._ledger = ledger
        self._clock = clock
        self._counts = counts

    async def to_its_end(self, folder: UploadFolder, upload: Upload) -> None:
        """Taken or failed; Busy or OSError when it has to wait, and then it is as it was."""
        try:
            skipped, taken = await self._taken(folder, upload)
        except (PackageRefused, Rejected, OrderRefused, UploadRefused) as error:
            await self._fail(folder, upload, Failure(reason=_reason(error), detail=str(error)))
            return
        except (Busy, OSError):
            raise
        except Exception as error:
            tell_defect(error, self._context.name)
            said = "internal error, see the engine's log"
            await self._fail(folder, upload, Failure(reason="defect", detail=said))
            return
        told = upload.changed(
            self._clock(),
            state=UploadState.TAKEN,
            study_instance_uid=taken.study_instance_uid,
            instances=taken.instances,
            known=taken.known,
            skipped=skipped,
        )
        await in_thread(None, self._end, folder, told)
        logger.info("upload taken", extra={"pons": {"inbound": self._context.name, "outcome": str(taken)}})
        self._counts["taken"] += 1

    async def _taken(self, folder: UploadFolder, upload: Upload) -> tuple[int, Taken]:
        names = await in_thread(None, folder.part_names)
        pieces = [folder.path / name for name in names]
        if not pieces:
            raise UploadRefused(Reason.PARTS, "its parts have gone from the disk; upload it again")
        if upload.sha256 is not None:
            await in_thread(None, _check_digest, pieces, upload.sha256)
        limits, most = self._settings.package, self._context.max_instance_bytes
        with await in_thread(None, open_package, pieces, limits, most) as package:
            await self._give_order(upload, package)
            taken = await take_in(package, upload.site, self._context, self._intake)
            return package.skipped, taken

    async def _give_order(self, upload: Upload, package: Package) -> None:
        """What the sidecar says, and the study, before anything of it is here."""
        desk, order_id = self._intake.orders, upload.order_id
        for attempt in range(1, _TRIES + 1):
            order = (await desk.get(order_id)).order
            if order.study_instance_uid not in ("", package.study_instance_uid):
                raise OrderRefused(
                    OrderRefusedReason.STATE,
                    f"order {order_id} is of another study than what was uploaded; give another order for it",
                )
            metadata = {**package.metadata, **order.metadata}
            if metadata == dict(order.metadata):
                break
            try:
                await desk.set_metadata(order_id, metadata, actor=order.submitter, version=order.version)
                break
            except OrderRefused as refused:
                if refused.reason is not OrderRefusedReason.VERSION or attempt == _TRIES:
                    raise
        await desk.bind(order_id, package.study_instance_uid)

    async def _fail(self, folder: UploadFolder, upload: Upload, failure: Failure) -> None:
        with suppress(OrderRefused):  # it was cancelled, or its study came otherwise
            await self._intake.orders.upload_failed(upload.order_id, failure.detail)
        told = upload.changed(self._clock(), state=UploadState.FAILED, failure=failure)
        await in_thread(None, self._end, folder, told)
        logger.warning(
            "upload refused", extra={"pons": {"inbound": self._context.name, "reason": failure.reason}}
        )
        self._counts["refused"] += 1

    def _end(self, folder: UploadFolder, upload: Upload) -> None:
        with folder.held():
            folder.write(upload)
            folder.clear()
        self._ledger.end(upload.upload_id)


def _reason(error: PonsError) -> str:
    if isinstance(error, PackageRefused | UploadRefused):
        return error.reason.value
    return "order" if isinstance(error, OrderRefused) else "rejected"


def _check_digest(pieces: list[Path], expected: str) -> None:
    digest = hashlib.sha256()
    for piece in pieces:
        with piece.open("rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    if digest.hexdigest() != expected:
        raise UploadRefused(
            Reason.DIGEST, "the SHA-256 of the whole is another than announced; upload it again"
        )


def tell_defect(error: Exception, inbound: str) -> None:
    """Log what nobody foresaw, without anything of an upload."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    facts = {"inbound": inbound, "error": type(error).__name__, "where": f"{where.name}:{where.lineno}"}
    logger.error("defect: upload not taken", extra={"pons": facts})
