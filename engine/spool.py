"""Instance bytes on disk: landed, made durable, found again.

Enters: a landing (`engine.landing`). Leaves: a file under `instances/<site>/<study>/` that survives a power
cut. A small instance is written under its name at once and made durable by the log (`engine.instance_log`); a
large one is a file in `landing/<process>/` already, and becomes an instance by fsync, rename and fsync of the
directory. A study's folder may be taken away by retention while an instance arrives: then it is made again.
Each process keeps its landing folder locked while it lives, so what lies in one that is not locked belonged
to a crash: landings go, and its log is recovered from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Set
from pathlib import Path

from engine import instance_log
from engine.errors import Busy, Rejected, RejectedReason
from engine.instance_log import InstanceLog
from engine.landing import FULL, FileLanding

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


class Spool:
    """The local directory of instances."""

    def __init__(
        self,
        data: Path,
        *,
        max_instance: int,
        min_free: int,
        free_space: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        before_naming: Callable[[str], None] = lambda path: None,
    ) -> None:
        """
        Args:
            before_naming: told the path below the instances folder that a landing is about to have.
        """
        self.instances = data / "instances"
        self._landings = data / "landing"
        self._logs = data / "log"
        self._max_instance = max_instance
        self._min_free = min_free
        self._free_space = free_space
        self._before_naming = before_naming
        self._checked_at = -1.0
        self._free = 0
        self._lock = threading.Lock()
        self._there: set[Path] = set()  # folders that are made
        self._known: set[Path] = set()  # of them, those whose names are durable
        self._failed = False
        self.abandoned: deque[str] = deque()
        """Paths under which bytes may lie that nobody will record; whoever records looks before they go."""
        self.shut = False
        """Whether the disk keeps new landings out, as whoever watches it found."""
        for folder in (data, self.instances, self._landings):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fsync_folder(data)
        self._landing, self._landing_lock = _own_folder(self._landings)
        self._log = InstanceLog(
            self._logs / self._landing.name, lambda: instance_log.sync_file_system(self.instances)
        )

    def close(self) -> None:
        """Settle the log and let go of the landing folder; what still lies there is for the next start."""
        if self._landing_lock >= 0:
            self._log.close()
            os.close(self._landing_lock)
            self._landing_lock = -1
            with contextlib.suppress(OSError):
                self._landing.rmdir()

    def collect_leftovers(self) -> int:
        """Remove the landings of processes that have ended, never a living one's; how many there were."""
        removed = 0
        for folder in self._landings.iterdir():
            if folder == self._landing:
                continue
            if folder.is_file():  # of a release that had one landing folder for all
                folder.unlink()
                removed += 1
                continue
            lock = _locked(folder)
            if lock is None:
                continue
            for leftover in folder.iterdir():
                leftover.unlink()
                removed += 1
            folder.rmdir()
            os.close(lock)
        return removed

    def left_logs(self) -> Iterator[Path]:
        """The logs of processes that have ended without settling them, each locked while it is looked at."""
        for folder in sorted(self._logs.glob("*")):
            home = self._landings / folder.name
            home.mkdir(mode=0o700, exist_ok=True)
            lock = _locked(home)
            if lock is not None:
                try:
                    yield folder
                finally:
                    os.close(lock)

    @property
    def home(self) -> str:
        """The name of this process's folders, for `settle` when it has ended."""
        return self._landing.name

    def settle(self, home: str) -> None:
        """Make durable what the log of a process holds that has ended while this one lives; blocks for it.

        Without a power cut in between nothing is lost: no need to put anything back.
        """
        log = self._logs / home
        if log.exists():
            instance_log.sync_file_system(self.instances)
            shutil.rmtree(log)

    @property
    def free(self) -> int:
        """Free bytes of the disk; looked up once a second."""
        with self._lock:
            now = time.monotonic()
            if now - self._checked_at > 1 or self._checked_at < 0:
                self._free = self._free_space(self.instances)
                self._checked_at = now
            return self._free

    def look_again(self) -> int:
        """Free bytes of the disk, looked up now."""
        with self._lock:
            self._checked_at = -1.0
        return self.free

    @property
    def below_watermark(self) -> bool:
        """Whether the disk has less free space than the watermark."""
        return self.free < self._min_free

    def failed(self) -> None:
        """A write has failed for want of space."""
        self._failed = True

    def take_failure(self) -> bool:
        """Whether one has since this was asked last."""
        failed, self._failed = self._failed, False
        return failed

    def land(self) -> FileLanding:
        """Open a landing; raises Busy below the watermark."""
        if self.shut or self.below_watermark:
            raise Busy("the disk is below its watermark", storage_full=True)
        return FileLanding(
            self._landing / uuid.uuid4().hex,
            self._max_instance,
            in_memory=instance_log.LIMIT,
            on_full=self.failed,
        )

    def keep(self, landing: FileLanding, site: str, study_instance_uid: str, sop_instance_uid: str) -> str:
        """Make a landing an instance: durable bytes under a durable name.

        Returns the path below the instances folder. Keeping the same content again is harmless.
        Blocks for the syncs; run it in a worker thread. Raises Busy when the disk is full, or when
        retention took the folder away at this very moment.
        """
        for uid in (study_instance_uid, sop_instance_uid):
            if not _UID.fullmatch(uid):  # it becomes part of a path
                raise Rejected(RejectedReason.INVALID_UID, "a UID is malformed")
        folder = self.instances / site / study_instance_uid
        name = f"{sop_instance_uid}-{landing.sha256()[:16]}.dcm"
        path = f"{site}/{study_instance_uid}/{name}"
        try:
            self._before_naming(path)
            if landing.held is None or not self._write(landing.held, folder / name):
                landing.sync()
                landing.close()
                self._name(landing.path, folder, name)
            elif not self._log.append(path, landing.held):
                self._sync(folder, name)
        except OSError as error:
            self.abandoned.append(path)
            if error.errno in FULL:
                self.failed()
                raise Busy("no space is left for instances", storage_full=True) from None
            raise
        return path

    def _write(self, content: bytearray, path: Path) -> bool:
        """Write a file that is not there yet, unsynced; False when it is there."""
        for _ in range(3):
            self._make_folder(path.parent, durable=False)
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return False
            except FileNotFoundError:
                self._forget_folder(path.parent)
                continue
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(file, rest) :]
            finally:
                os.close(file)
            return True
        raise Busy("earlier instances of the study are being removed at this moment")

    def _sync(self, folder: Path, name: str) -> None:
        """Make a file that was written under its name durable."""
        try:
            self._make_folder(folder)
            file = os.open(folder / name, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
            fsync_folder(folder)
        except FileNotFoundError:
            self._forget_folder(folder)
            raise Busy("earlier instances of the study are being removed at this moment") from None

    def _name(self, landed: Path, folder: Path, name: str) -> None:
        for _ in range(3):
            self._make_folder(folder)
            try:
                landed.rename(folder / name)
                fsync_folder(folder)
            except FileNotFoundError:
                self._forget_folder(folder)
                if not landed.exists():
                    break  # it was in the folder that went
            else:
                return
        raise Busy("earlier instances of the study are being removed at this moment")

    def put_back(self, relative: str, content: bytes) -> None:
        """Write a recorded instance again that the file system has lost; durable on return."""
        path = self.path(relative)
        self._make_folder(path.parent)
        write_durably(path, content)

    def path(self, relative: str) -> Path:
        """Where the bytes of a recorded instance are."""
        return self.instances / relative

    def holds(self, relative: str, size: int) -> bool:
        """Whether a recorded instance is there, in full."""
        try:
            return self.path(relative).stat().st_size == size
        except OSError:
            return False

    def forget(self, relative: str) -> None:
        """Remove bytes that were never recorded."""
        self.path(relative).unlink(missing_ok=True)

    def take_away(self, relative: str, kept: Set[str], trash: Path) -> None:
        """Take a study's files away, all but those ``kept`` (paths below the instances folder).

        Without any to keep the whole folder goes, by one rename into ``trash``. Harmless when repeated.
        """
        folder = self.instances / relative
        with self._lock:
            self._known.discard(folder)
            self._there.discard(folder)
            with contextlib.suppress(FileNotFoundError):
                if not kept:
                    folder.rename(trash / uuid.uuid4().hex)
                    return
                for file in folder.iterdir():
                    if f"{relative}/{file.name}" not in kept:
                        file.unlink()

    def _make_folder(self, folder: Path, *, durable: bool = True) -> None:
        with self._lock:
            if folder in (self._known if durable else self._there):
                return
            for made in (folder.parent, folder):
                made.mkdir(mode=0o700, exist_ok=True)
                if durable:
                    fsync_folder(made.parent)
            if len(self._there) > 10_000:
                self._there.clear()
                self._known.clear()
            self._there.add(folder)
            if durable:
                self._known.add(folder)

    def _forget_folder(self, folder: Path) -> None:
        with self._lock:
            self._known.discard(folder)
            self._there.discard(folder)


def _own_folder(parent: Path) -> tuple[Path, int]:
    """A new folder and the descriptor whose lock says that its process lives."""
    while True:
        folder = parent / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        lock = _locked(folder)
        if lock is not None:
            if folder.exists():
                return folder, lock
            os.close(lock)  # collected by another process before it was locked


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None when another does, or the folder is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_full(error: BaseException) -> bool:
    """Whether something failed because no space is left, which says nothing of what it was doing."""
    return isinstance(error, OSError) and error.errno in FULL


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Write a whole file so that it is either absent or complete, whatever happens."""
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.rename(path)
    fsync_folder(path.parent)
