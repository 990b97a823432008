"""Instance bytes on disk: landed, made durable, found again.

Enter: the bytes of one DICOM Part 10 file, in pieces, in order. Leave: a file under
`instances/<site>/<study>/` that survives a power cut, and the digest of its data set. A landing
is a file in `landing/<process>/` that nobody else can see; it becomes an instance by fsync, rename
and fsync of the directory. A study's folder may be taken away by retention while an instance arrives:
then it is made again. Each process keeps its landing folder locked while it lives, so what lies
in one that is not locked belonged to a crash and goes.

Two Part 10 files may carry the same data set under different file meta (another sending AE title,
another way in), so the digest covers the data set alone (PS3.10 7.1).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import struct
import threading
import time
import uuid
from collections.abc import Callable, Set
from pathlib import Path

from engine.errors import Busy, Rejected, RejectedReason

FULL = (errno.ENOSPC, errno.EDQUOT)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_META_START = struct.Struct("<128x4s4s2sHI")  # preamble, DICM, (0002,0000), "UL", 4, group length


class FileLanding:
    """One instance on its way to disk."""

    def __init__(self, path: Path, limit: int, on_full: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._on_full = on_full
        self._limit = limit
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._size = 0
        self._digest = hashlib.sha256()
        self._head: bytearray | None = bytearray()  # until the end of the file meta is known
        self._meta_left = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; raises Rejected(TOO_LARGE) past the limit and Busy when the disk is full."""
        view = memoryview(data)
        if self._size + len(view) > self._limit:
            raise Rejected(RejectedReason.TOO_LARGE, f"the instance is larger than {self._limit} bytes")
        try:
            rest = view
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            if error.errno in FULL:
                self._on_full()
                raise Busy("no space is left for instances", storage_full=True) from None
            raise
        self._size += len(view)
        self._hash(view)

    def _hash(self, view: memoryview) -> None:
        if self._head is not None:
            self._head += view
            if len(self._head) < _META_START.size:
                return
            view, self._head = memoryview(self._head), None
            _, magic, vr, length, group_length = _META_START.unpack(view[: _META_START.size])
            if (magic, vr, length) == (b"\x02\x00\x00\x00", b"UL", 4):
                self._meta_left = _META_START.size + group_length
        skipped = min(self._meta_left, len(view))
        self._meta_left -= skipped
        self._digest.update(view[skipped:])

    def sha256(self) -> str:
        """Digest of the data set; of the whole file when it has no file meta group length."""
        if self._head is not None:
            self._digest.update(self._head)
            self._head = None
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Make the bytes durable (their name is not yet)."""
        os.fsync(self._file)

    def discard(self) -> None:
        """Forget the bytes; harmless after they were kept and when repeated."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file descriptor."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


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
        self._max_instance = max_instance
        self._min_free = min_free
        self._free_space = free_space
        self._before_naming = before_naming
        self._checked_at = -1.0
        self._free = 0
        self._lock = threading.Lock()
        self._known: set[Path] = set()
        self._failed = False
        self.shut = False
        """Whether the disk keeps new landings out, as whoever watches it found."""
        for folder in (data, self.instances, self._landings):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fsync_folder(data)
        self._landing, self._landing_lock = _own_folder(self._landings)

    def close(self) -> None:
        """Let go of the landing folder; what still lies in it is for `collect_leftovers` to find."""
        if self._landing_lock >= 0:
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
        try:
            return FileLanding(self._landing / uuid.uuid4().hex, self._max_instance, self.failed)
        except OSError as error:
            if error.errno in (*FULL, errno.EMFILE, errno.ENFILE):
                full = error.errno in FULL
                self._failed |= full
                raise Busy(f"a landing cannot be opened: {error.strerror}", storage_full=full) from None
            raise

    def keep(self, landing: FileLanding, site: str, study_instance_uid: str, sop_instance_uid: str) -> str:
        """Make a landing an instance: durable bytes under a durable name.

        Returns the path below the instances folder. Keeping the same content again is harmless.
        Blocks for the syncs; run it in a worker thread. Raises Busy when the disk is full, or when
        retention took the folder away at this very moment.
        """
        for uid in (study_instance_uid, sop_instance_uid):
            if not _UID.fullmatch(uid):  # it becomes part of a path
                raise Rejected(RejectedReason.INVALID_UID, "a UID is malformed")
        digest = landing.sha256()
        folder = self.instances / site / study_instance_uid
        name = f"{sop_instance_uid}-{digest[:16]}.dcm"
        path = f"{site}/{study_instance_uid}/{name}"
        try:
            landing.sync()
            landing.close()
            self._before_naming(path)
            self._name(landing.path, folder, name)
        except OSError as error:
            if error.errno in FULL:
                self.failed()
                raise Busy("no space is left for instances", storage_full=True) from None
            raise
        return path

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
            with contextlib.suppress(FileNotFoundError):
                if not kept:
                    folder.rename(trash / uuid.uuid4().hex)
                    return
                for file in folder.iterdir():
                    if f"{relative}/{file.name}" not in kept:
                        file.unlink()

    def _make_folder(self, folder: Path) -> None:
        with self._lock:
            if folder in self._known:
                return
            for made in (folder.parent, folder):
                if not made.exists():
                    made.mkdir(mode=0o700, exist_ok=True)
                    fsync_folder(made.parent)
            if len(self._known) > 10_000:
                self._known.clear()
            self._known.add(folder)

    def _forget_folder(self, folder: Path) -> None:
        with self._lock:
            self._known.discard(folder)


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
