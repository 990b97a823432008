"""Uploads, whole or in parts, for every channel that takes them over HTTP: the REST API and the portal.

Enter: an order, then bytes: all at once at a signed address, or parts in any order, each as often as needed.
Leave: an order bound to its study, every instance of it in the engine's intake; or why not, and then nothing
of the upload is kept. Every call is durable on return, so that who is killed goes on where it was: what is
told to be here is here. Who may ask is the channel's to say: it gives the sites that its peer may see, and
what lies elsewhere is not there::

    uploads = Uploads(settings, context, intake)
    async with uploads.working():                                   # while the channel is open
        upload, _ = await uploads.begin(order_id, "multipart", sites=sites)
        await uploads.receive_part(upload.upload_id, 1, request.stream(), announced(...), sites=sites)
        await uploads.complete(upload.upload_id, sites=sites)
        upload = await uploads.settled(upload.upload_id, 10.0)      # taken, failed, or taking still
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from channels.inbound.uploads import links
from channels.inbound.uploads.announced import Announced
from channels.inbound.uploads.completeness import (
    refuse_incomplete,
    refuse_other_size,
    refuse_too_large,
    refuse_unless_open,
)
from channels.inbound.uploads.folder import UploadFolder
from channels.inbound.uploads.ledger import Ledger
from channels.inbound.uploads.receiving import Body, receive
from channels.inbound.uploads.refusal import Reason, UploadRefused
from channels.inbound.uploads.settings import UploadSettings
from channels.inbound.uploads.shelf import Shelf, not_found
from channels.inbound.uploads.taking import in_thread
from channels.inbound.uploads.tender import Tender
from channels.inbound.uploads.upload import Kind, Part, Upload, UploadState, moment
from engine.channel import InboundContext, Intake

Sites = Collection[str] | None
"""The sites that a peer may see; None for every one."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An upload with what of it is here."""

    upload: Upload
    parts: tuple[Part, ...]
    expires_at: datetime | None  # when it is dropped unless something of it comes; None when that is settled
    waits: str  # why it is not taken in yet, where it waits


class Uploads:
    """The uploads of one channel; lives on the event loop."""

    def __init__(
        self,
        settings: UploadSettings,
        context: InboundContext,
        intake: Intake,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._context = context
        self._intake = intake
        self._clock = clock
        self._root = context.data / "uploads" / context.name
        self._shelf = Shelf(self._root, clock)
        self._ledger = Ledger(settings.max_open, settings.max_waiting)
        self._tender = Tender(settings, context, intake, self._shelf, self._ledger, clock)

    def working(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Entered: what is complete is taken in, and what is forgotten is dropped. Left: it rests."""
        return self._tender.working()

    async def begin(
        self,
        order_id: str,
        kind: Kind,
        *,
        sites: Sites,
        size: int | None = None,
        sha256: str | None = None,
    ) -> tuple[Upload, bool]:
        """The upload of an order that is under way, and whether it is new; the order is *receiving*.

        Args:
            size: bytes that it will have, where that is known; others are refused.
            sha256: of all of it, in hex; compared before anything is taken.

        Raises:
            UploadRefused: STATE (one is under way that was begun otherwise), QUOTA, TOO_LARGE.
            OrderRefused: NOT_FOUND, STATE (it is cancelled, or its study is here).
            Busy: the disk is low, the engine is closing.
        """
        site = (await self._intake.orders.get(order_id, sites)).order.site
        refuse_too_large(size or 0, self.settings.max_size)
        await in_thread(None, self._check_disk)
        upload, is_new = await in_thread(
            None,
            lambda: self._shelf.begin(
                order_id,
                site,
                kind,
                size or self.settings.max_size,
                size,
                sha256,
                lambda upload_id: self._ledger.begin(upload_id, site),
            ),
        )
        try:
            await self._intake.orders.uploading(order_id, sites)
        except BaseException:
            if is_new:
                self._ledger.end(upload.upload_id)
                await in_thread(None, self._shelf.folder(upload.upload_id).remove)
            raise
        return upload, is_new

    async def under_way(self, order_id: str, *, sites: Sites) -> Upload | None:
        """The upload of an order that is not over; None where there is none among the sites."""
        upload = await in_thread(None, self._shelf.under_way, order_id)
        return upload if upload is not None and (sites is None or upload.site in sites) else None

    async def link(self, upload: Upload) -> tuple[str, datetime]:
        """The query of an address to which this upload may be sent, and until when."""
        key = await in_thread(None, links.signing_key, self._root)
        expires = int(self._clock() + self.settings.link_life)
        return links.signed(key, upload, expires), moment(expires)

    async def linked(self, upload_id: str, expires: str, signature: str) -> Upload:
        """The upload of a signed address; UploadRefused(LINK), also where there is none."""
        key = await in_thread(None, links.signing_key, self._root)
        try:
            upload = await in_thread(None, self._shelf.folder(upload_id).facts)
            max_size = upload.max_size
        except (UploadRefused, FileNotFoundError):
            max_size = -1  # of no address that was ever signed
        links.check(key, upload_id, max_size, expires, signature, self._clock())
        return upload

    async def receive_whole(self, upload: Upload, chunks: AsyncIterable[bytes], announced: Announced) -> None:
        """All of an upload that is of one piece; with its last byte it is complete.

        Raises:
            UploadRefused: DIGEST, TOO_LARGE, SILENT (nothing is kept, send it again), STATE, QUOTA.
            Busy: the disk is low.
        """
        if upload.kind != "single":
            raise UploadRefused(Reason.STATE, "this upload comes in parts")
        folder = self._shelf.folder(upload.upload_id)
        await self._receive(folder, upload, 1, chunks, announced, upload.max_size)
        await self._complete(folder, None)

    async def receive_part(
        self,
        upload_id: str,
        number: int,
        chunks: AsyncIterable[bytes],
        announced: Announced,
        *,
        sites: Sites,
    ) -> Part:
        """A part, in place of what there was of this number; the digests that were announced hold."""
        folder, upload = await self._find(upload_id, sites)
        if upload.kind != "multipart":
            raise UploadRefused(Reason.STATE, "this upload comes whole, to its signed address")
        if not 1 <= number <= self.settings.max_parts:
            raise UploadRefused(Reason.PARTS, f"parts have the numbers 1 to {self.settings.max_parts}")
        limit = min(self.settings.max_part, upload.max_size)
        return await self._receive(folder, upload, number, chunks, announced, limit)

    async def show(self, upload_id: str, *, sites: Sites) -> Standing:
        """An upload as it stands; UploadRefused(NOT_FOUND)."""
        folder, upload = await self._find(upload_id, sites)
        if upload.is_over:
            return Standing(upload, (), None, "")
        parts = await in_thread(None, folder.parts)
        expires = None
        if upload.state is UploadState.OPEN:
            last = await in_thread(None, folder.last_change) or self._clock()
            expires = moment(last + self.settings.expire_after)
        return Standing(upload, tuple(parts), expires, self._tender.waits.get(upload_id, ""))

    async def complete(
        self, upload_id: str, *, sites: Sites, listed: Mapping[int, str | None] | None = None
    ) -> Upload:
        """There is nothing more to come: it will be taken in. Harmless when repeated.

        Args:
            listed: the parts that it has, by number, with their SHA-256 where one is given; when absent those
                that are here.

        Raises:
            UploadRefused: NOT_FOUND, PARTS (one is missing, or another than listed), STATE (it was given up).
            OrderRefused: STATE (the order was cancelled, or its study is here).
        """
        folder, upload = await self._find(upload_id, sites)
        if upload.kind == "single" and upload.state is UploadState.OPEN:
            raise UploadRefused(Reason.STATE, "this upload is complete when its bytes are here; send them")
        if upload.state in (UploadState.ABORTED, UploadState.EXPIRED):
            raise UploadRefused(Reason.STATE, f"this upload has {upload.state}; begin another for the order")
        if upload.state is UploadState.OPEN:
            await self._intake.orders.uploading(upload.order_id, sites)
            upload = await self._complete(folder, listed)
        return upload

    async def abort(self, upload_id: str, *, sites: Sites) -> Upload:
        """Give an upload up; nothing of it is kept. Harmless when repeated.

        Raises:
            UploadRefused: NOT_FOUND, STATE (it was complete: cancel the order).
        """
        folder, _ = await self._find(upload_id, sites)
        upload = await self._tender.give_up(folder, UploadState.ABORTED)
        if upload.state in (UploadState.TAKING, UploadState.TAKEN):
            raise UploadRefused(Reason.STATE, "this upload was complete; cancel its order instead")
        return upload

    async def settled(self, upload_id: str, patience: float) -> Upload:
        """What became of an upload that is complete; as it is when so many seconds have passed."""
        folder = self._shelf.folder(upload_id)
        until = time.monotonic() + patience
        async with self._tender.settled:
            while True:
                try:
                    upload = await in_thread(None, folder.facts)
                except FileNotFoundError:  # it was over, and is not told of any more
                    raise not_found() from None
                left = until - time.monotonic()
                if upload.state is not UploadState.TAKING or left <= 0:
                    return upload
                with contextlib.suppress(TimeoutError):  # another process may have taken it
                    async with asyncio.timeout(min(0.5, left)):
                        await self._tender.settled.wait()

    def measured(self, name: str) -> dict[str, float]:
        """Samples for `/metrics`, by site and by outcome."""
        samples = {}
        for site, (uploads, size) in self._ledger.by_site().items():
            labels = f'inbound="{name}",site="{site}"'
            samples[f"pons_uploads_open{{{labels}}}"] = float(uploads)
            samples[f"pons_uploads_waiting_bytes{{{labels}}}"] = float(size)
        for outcome in ("taken", "refused", "aborted", "expired"):
            labels = f'inbound="{name}",outcome="{outcome}"'
            samples[f"pons_uploads_total{{{labels}}}"] = float(self._tender.counts[outcome])
        return samples

    # ── the pieces ──────────────────────────────────────────────────────────────────────────────

    async def _find(self, upload_id: str, sites: Sites) -> tuple[UploadFolder, Upload]:
        folder = self._shelf.folder(upload_id)
        try:
            upload = await in_thread(None, folder.facts)
        except FileNotFoundError:
            raise not_found() from None
        if sites is not None and upload.site not in sites:
            raise not_found()
        return folder, upload

    def _check_disk(self) -> None:
        self._intake.land().discard()

    async def _receive(
        self,
        folder: UploadFolder,
        upload: Upload,
        number: int,
        chunks: AsyncIterable[bytes],
        announced: Announced,
        limit: int,
    ) -> Part:
        refuse_unless_open(upload)
        if upload.kind == "single" and announced.length is not None:
            refuse_other_size(upload, announced.length)
        refuse_too_large(announced.length or 0, limit)
        await in_thread(None, self._check_disk)
        grown = 0

        def grow(size: int) -> None:
            nonlocal grown
            self._ledger.grow(upload.upload_id, upload.site, size)
            grown += size

        try:
            descriptor, path = folder.incoming()  # not in a thread: who is cancelled would not get it
        except FileNotFoundError:
            raise not_found() from None
        pace = (self.settings.idle_timeout, self.settings.min_rate)
        body = Body(chunks, announced, limit, *pace, grow, self._check_disk)
        try:
            size, sha256 = await receive(body, descriptor)
            part = Part(number=number, size=size, sha256=sha256)
            await in_thread(None, self._keep, folder, path, part)
        except BaseException:
            self._ledger.shrink(upload.upload_id, grown)
            raise
        finally:
            await in_thread(None, _let_go, descriptor, path)
        return part

    def _keep(self, folder: UploadFolder, path: Path, part: Part) -> None:
        with folder.held():
            upload = folder.facts()
            refuse_unless_open(upload)
            if upload.kind == "single":
                refuse_other_size(upload, part.size)
                if upload.sha256 not in (None, part.sha256):
                    raise UploadRefused(
                        Reason.DIGEST, "the SHA-256 of what arrived is another than announced; send it again"
                    )
            others = sum(one.size for one in folder.parts() if one.number != part.number)
            refuse_too_large(others + part.size, upload.max_size)
            replaced = folder.keep(path, part.number, part.sha256)
            self._ledger.shrink(upload.upload_id, replaced)

    async def _complete(self, folder: UploadFolder, listed: Mapping[int, str | None] | None) -> Upload:
        def mark() -> Upload:
            with folder.held():
                upload = folder.facts()
                if upload.state is not UploadState.OPEN:
                    return upload
                parts = folder.parts()
                refuse_incomplete(parts, listed)
                refuse_other_size(upload, sum(one.size for one in parts))
                told = upload.changed(self._clock(), state=UploadState.TAKING)
                folder.write(told)
                return told

        upload = await in_thread(None, mark)
        if upload.state is UploadState.TAKING:
            self._tender.take(upload.upload_id)
        return upload


def _let_go(descriptor: int, path: Path) -> None:
    os.close(descriptor)
    path.unlink(missing_ok=True)
