"""Take complete uploads in: what lies in a site's `/input` in, instances of one study in the engine's intake.

An upload is first moved out of its client's reach, then looked at as a whole, then landed as one study
(uploads/taking.py), and moved to `/input/.done`. What cannot be taken is moved to `/input/.failed`,
beside a text that says why. Who is killed in between finds it again at the next start and takes it once more:
the engine knows every instance that it has, so an upload that comes twice is still one study.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from channels.inbound.sftp_landing import Lander
from channels.inbound.sftp_root import DONE, FAILED, Root, measure, remove_tree
from channels.inbound.sftp_uploads import MARK, Complete, Uploads
from channels.inbound.uploads.taking import in_thread
from engine.channel import InboundContext
from engine.errors import Busy, OrderRefused, PackageRefused, Rejected

logger = logging.getLogger("pons.sftp")

T = TypeVar("T")

AGAIN = 10.0  # seconds until an upload is tried again that the engine had no room for
CUT_OFF = (
    "the upload was cut off and nobody came back to finish it; "
    "upload it again, and rename it into place when it is complete"
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the taker looks, in seconds, and what it keeps."""

    look: float
    keep: float


class Taker:
    """Takes in the uploads of one site; lives on the event loop, works in threads."""

    def __init__(
        self,
        context: InboundContext,
        site: str,
        root: Root,
        uploads: Uploads,
        lander: Lander,
        pace: Pace,
        threads: Executor,
        places: asyncio.Semaphore,
        counts: Counter[str],
    ) -> None:
        """
        Args:
            places: of uploads taken at once, shared by all sites.
        """
        self._context = context
        self._site = site
        self._root = root
        self._uploads = uploads
        self._lander = lander
        self._pace = pace
        self._threads = threads
        self._places = places
        self._counts = counts

    async def run(self) -> None:
        """Look, take, file; until cancelled, and then nothing is half done that is not done again."""
        tidied = 0.0
        while True:
            try:
                await self._left_over()
                for upload in await self._run(self._uploads.look):
                    await self._take(upload)
                if time.monotonic() - tidied > 60 or not tidied:
                    tidied = time.monotonic()
                    await self._run(self._tidy)
            except Busy as error:
                logger.warning("uploads wait", extra={"pons": {**self._facts, "reason": str(error)}})
                await asyncio.sleep(AGAIN)
            except OSError as error:
                logger.error(
                    "uploads cannot be taken", extra={"pons": {**self._facts, "reason": error.strerror}}
                )
                await asyncio.sleep(AGAIN)
            await asyncio.sleep(self._pace.look)

    @property
    def _facts(self) -> dict[str, str]:
        return {"inbound": self._context.name, "site": self._site}

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        return await in_thread(self._threads, work, *arguments)

    async def _left_over(self) -> None:
        """What was moved out of reach before, and not filed: the engine was stopped, or had no room."""
        for folder in await self._run(lambda: sorted(self._root.taking.iterdir())):
            with _held(folder) as alone:
                if alone:
                    for path in await self._run(lambda folder=folder: sorted(folder.iterdir())):
                        await self._land(path, "whole")
                    folder.rmdir()

    async def _take(self, upload: Complete) -> None:
        if self._uploads.is_open(upload.name):  # a client has come back since we looked
            return
        folder = self._root.taking / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        with _held(folder):
            path = folder / upload.name
            try:
                # In one step of the loop with the question above: no session opens it in between.
                (self._root.input / upload.name).rename(path)
            except FileNotFoundError:  # its client has renamed or removed it
                folder.rmdir()
                return
            self._uploads.taken(upload.name)
            await self._run(self._leave_room, path)
            await self._land(path, upload.how)
            folder.rmdir()

    def _leave_room(self, path: Path) -> None:
        (self._root.input / (path.name + MARK)).unlink(missing_ok=True)
        size, files, _ = measure(path)
        self._root.waiting.shrink(size, files)

    async def _land(self, path: Path, how: str) -> None:
        """One upload to its end, filed; Busy when the engine has no room, and then it stays where it is."""
        async with self._places:
            try:
                if how == "cut off":
                    raise Unfinished
                landed = await self._lander.land(path, path.parent.name)
            except (PackageRefused, Rejected, OrderRefused, Unfinished) as error:
                reason = getattr(error, "reason", "cut_off")
                why = CUT_OFF if isinstance(error, Unfinished) else str(error)
                self._counts["refused"] += 1
                logger.warning("upload refused", extra={"pons": {**self._facts, "reason": str(reason)}})
                await self._run(self._file, path, FAILED, why)
                return
            except (Busy, OSError):  # of this moment: it is taken later
                raise
            except Exception as error:  # of this one upload: others must not wait for it
                where = traceback.extract_tb(error.__traceback__)[-1]
                facts = {
                    **self._facts,
                    "error": type(error).__name__,
                    "where": f"{where.name}:{where.lineno}",
                }
                self._counts["refused"] += 1
                logger.error("defect: upload not taken", extra={"pons": facts})
                await self._run(self._file, path, FAILED, "internal error, see the engine's log")
                return
            self._counts["taken"] += 1
            logger.info("upload taken", extra={"pons": {**self._facts, "outcome": landed.outcome}})
            if landed.refused:
                await self._run(self._part, path, landed.refused)
            await self._run(self._file, path, DONE, "")

    def _part(self, path: Path, refused: Sequence[tuple[Path, str]]) -> None:
        """File what was refused of a group, one by one: who is killed meanwhile goes on with the rest."""
        why = "\n".join(f"{member.name}: {words}" for member, words in refused)
        if len(refused) == len([one for one in path.iterdir() if not one.name.startswith(".")]):
            self._file(path, FAILED, why)
            return
        folder = self._root.input / FAILED
        self._say(folder / f"{path.name}.txt", why)
        if not (folder / path.name).is_dir():
            remove_tree(folder / path.name)
            (folder / path.name).mkdir(mode=0o700)
        for member, _ in refused:
            remove_tree(folder / path.name / member.name)
            member.rename(folder / path.name / member.name)

    def _say(self, file: Path, why: str) -> None:
        part = file.with_name(f".{uuid.uuid4().hex}")
        part.write_text(why + "\n", "utf-8")
        part.rename(file)

    def _file(self, path: Path, where: str, why: str) -> None:
        """Move to where the client sees what became of it; what has its name there is replaced."""
        if not path.exists():  # all of a group was refused, and is filed so
            return
        folder = self._root.input / where
        final = folder / path.name
        if why:
            self._say(folder / f"{path.name}.txt", why)
        remove_tree(final)
        path.rename(final)
        os.utime(final)  # what is kept is kept from now on
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _tidy(self) -> None:
        """Remove what was filed long ago; the engine has what it took."""
        for where in (DONE, FAILED):
            for entry in (self._root.input / where).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - entry.lstat().st_mtime > self._pace.keep:
                        remove_tree(entry)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Whether nobody else works in a folder: another engine, or this channel as another table had it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = folder.exists()
    except BlockingIOError:
        alone = False
    try:
        yield alone
    finally:
        os.close(descriptor)


class Unfinished(Exception):
    """It was cut off."""
