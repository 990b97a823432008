"""What happens to uploads by itself: complete ones are taken in, idle ones dropped, old ones forgotten.

Enter: the uploads on a shelf. Leave: those that are over. Each is taken in by one process at a time, under a
lock that ends with it; what another process has left is found by looking. What the engine has no room for
waits, and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from channels.inbound.uploads.folder import UploadFolder
from channels.inbound.uploads.ingestion import Ingestion, tell_defect
from channels.inbound.uploads.ledger import Ledger
from channels.inbound.uploads.refusal import UploadRefused
from channels.inbound.uploads.settings import UploadSettings
from channels.inbound.uploads.shelf import Shelf
from channels.inbound.uploads.taking import in_thread
from channels.inbound.uploads.upload import Upload, UploadState
from engine.channel import InboundContext, Intake
from engine.errors import Busy, OrderRefused
from engine.model import OrderState

logger = logging.getLogger("pons.uploads")

AT_ONCE = 2  # uploads taken in
AGAIN = 5.0  # seconds until an upload is tried again that the engine had no room for
LOOK = 10.0  # seconds between two looks for uploads that another process has left
TIDY = 60.0  # seconds


class Tender:
    """Lives on the event loop, works in threads."""

    def __init__(
        self,
        settings: UploadSettings,
        context: InboundContext,
        intake: Intake,
        shelf: Shelf,
        ledger: Ledger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._context = context
        self._intake = intake
        self._shelf = shelf
        self._ledger = ledger
        self._clock = clock
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self.waits: dict[str, str] = {}
        """Why an upload that is complete is not taken in yet."""
        self.settled = asyncio.Condition()
        """Notified when an upload is over."""
        self.counts: Counter[str] = Counter()
        self._ingestion = Ingestion(settings, context, intake, ledger, clock, self.counts)

    def take(self, upload_id: str) -> None:
        """It is complete: take it in soon."""
        if upload_id not in self._queued:
            self._queued.add(upload_id)
            self._queue.put_nowait(upload_id)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Entered: what is complete is taken in. Left: nothing is half done that is not done again."""
        tasks = [asyncio.create_task(self._take_all()) for _ in range(AT_ONCE)]
        tasks += [asyncio.create_task(self._look()), asyncio.create_task(self._tidy())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_all(self) -> None:
        while True:
            upload_id = await self._queue.get()
            self._queued.discard(upload_id)
            try:
                await self.take_now(upload_id)
            except (Busy, OSError) as error:
                why = str(error) if isinstance(error, Busy) else f"the disk cannot be read: {error.strerror}"
                self.waits[upload_id] = why
                logger.warning("an upload waits", extra={"pons": {**self._facts, "reason": why}})
                asyncio.get_running_loop().call_later(AGAIN, self.take, upload_id)
            except Exception as error:  # of this upload: others must not wait for it
                tell_defect(error, self._context.name)

    async def _look(self) -> None:
        while True:
            with suppress(OSError):
                for upload_id in await in_thread(None, self._shelf.in_state, UploadState.TAKING):
                    if upload_id not in self.waits:
                        self.take(upload_id)
            await asyncio.sleep(LOOK)

    async def _tidy(self) -> None:
        while True:
            try:
                await self.tidy()
            except OSError as error:
                logger.warning("uploads: not tidied", extra={"pons": {"reason": error.strerror}})
            except Exception as error:  # the next round may do
                tell_defect(error, self._context.name)
            await asyncio.sleep(TIDY)

    @property
    def _facts(self) -> dict[str, str]:
        return {"inbound": self._context.name}

    # ── taking in ───────────────────────────────────────────────────────────────────────────────

    async def take_now(self, upload_id: str) -> None:
        """One upload to its end; Busy or OSError when that has to wait, and then it is as it was."""
        try:
            folder = self._shelf.folder(upload_id)
            held = folder.hold_for_taking()  # not in a thread: who is cancelled would never let go
        except (UploadRefused, FileNotFoundError):
            return
        if held is None:  # another process takes it
            return
        try:
            upload = await in_thread(None, folder.facts)
            if upload.state is UploadState.TAKING:
                await self._ingestion.to_its_end(folder, upload)
        finally:
            os.close(held)
            self.waits.pop(upload_id, None)
        async with self.settled:
            self.settled.notify_all()

    # ── dropping ────────────────────────────────────────────────────────────────────────────────

    async def tidy(self) -> None:
        """Drop what nobody goes on with, forget what was told long enough, count what there is."""
        await in_thread(None, self._shelf.sweep)
        for upload_id in await in_thread(None, self._shelf.ids):
            with suppress(FileNotFoundError, UploadRefused):
                await self._look_at(self._shelf.folder(upload_id))
        self._ledger.recount(await in_thread(None, self._shelf.counted))

    async def _look_at(self, folder: UploadFolder) -> None:
        upload = await in_thread(None, folder.facts)
        if upload.state is UploadState.OPEN:
            await in_thread(None, folder.drop_broken_off)
            if await in_thread(None, self._is_idle, folder):
                await self.give_up(folder, UploadState.EXPIRED)
            elif await self._is_cancelled(upload.order_id):
                await self.give_up(folder, UploadState.ABORTED)
        elif upload.is_over:
            with contextlib.suppress(FileNotFoundError):  # what a kill left of its bytes
                await in_thread(None, folder.clear)
            if self._clock() - upload.changed_at.timestamp() > self._settings.keep:
                await in_thread(None, folder.remove)

    async def _is_cancelled(self, order_id: str) -> bool:
        try:
            return (await self._intake.orders.get(order_id)).order.state is OrderState.CANCELLED
        except OrderRefused:
            return True  # retention has removed it
        except Busy:
            return False

    def _is_idle(self, folder: UploadFolder) -> bool:
        last = folder.last_change()
        return last is not None and self._clock() - last > self._settings.expire_after

    async def give_up(self, folder: UploadFolder, state: UploadState) -> Upload:
        """End an upload that is open, with nothing of it kept; what it is then."""
        upload = await in_thread(None, folder.facts)
        if upload.state is not UploadState.OPEN:
            return upload
        with suppress(OrderRefused):
            await self._intake.orders.upload_ended(upload.order_id)

        def end() -> Upload:
            with folder.held():
                now = folder.facts()
                if now.state is not UploadState.OPEN:
                    return now
                told = now.changed(self._clock(), state=state)
                folder.write(told)
                folder.clear()
            self._ledger.end(upload.upload_id)
            return told

        ended = await in_thread(None, end)
        if ended.state is state:
            self.counts[state.value] += 1
            logger.info("upload given up", extra={"pons": {**self._facts, "outcome": state.value}})
        return ended
