"""The folder of one upload: its facts, the parts that are whole, and those that arrive. Blocks.

    upload.json                      the facts (`Upload`), replaced as a whole
    part-<number>-<serial>-<sha256>  a part; of one number the highest serial counts
    incoming-<random>                bytes that arrive, locked (flock) as long as somebody writes them
    lock, taking                     who changes the upload, and who takes it in, holds these locks

A name that is there is durable with all that it names: files are synced before they get it, and the folder
afterwards. So who is killed at any moment leaves an upload that can go on. Locks are of the kernel, and end
with their holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from channels.inbound.uploads.upload import Part, Upload

FACTS = "upload.json"
_PART = re.compile(r"part-(\d{5})-(\d{6})-([0-9a-f]{64})")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class UploadFolder:
    """One upload on disk; any process may have it at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def facts(self) -> Upload:
        """What is known of it; FileNotFoundError when there is no such upload."""
        return Upload.model_validate_json((self.path / FACTS).read_bytes())

    def write(self, upload: Upload) -> None:
        """Other facts, durable on return; whoever calls holds the upload."""
        new = self.path / f"{FACTS}.new"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, _NEW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(upload.model_dump_json().encode())
            file.flush()
            os.fsync(descriptor)
        new.rename(self.path / FACTS)
        sync_folder(self.path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else changes it meanwhile; FileNotFoundError when it has gone."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def hold_for_taking(self) -> int | None:
        """A descriptor that keeps others from taking it in until it is closed; None when somebody does."""
        descriptor = os.open(self.path / "taking", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if is_locked(descriptor):
            os.close(descriptor)
            return None
        return descriptor

    def parts(self) -> list[Part]:
        """The parts that are here, by number."""
        return [part for part, _ in self._files().values()]

    def part_names(self) -> list[str]:
        """The names of their files, in the same order."""
        return [name for _, name in self._files().values()]

    def incoming(self) -> tuple[int, Path]:
        """A new file for bytes that arrive, and a locked descriptor of it."""
        path = self.path / f"incoming-{uuid.uuid4().hex}"
        descriptor = os.open(path, _NEW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor, path

    def keep(self, incoming: Path, number: int, sha256: str) -> int:
        """Make a synced file that arrived the part of this number; returns how many bytes it replaced.

        Whoever calls holds the upload.
        """
        before = sorted(self.path.glob(f"part-{number:05}-*"))
        serial = int(before[-1].name.split("-")[2]) + 1 if before else 1
        incoming.rename(self.path / f"part-{number:05}-{serial:06}-{sha256}")
        sync_folder(self.path)
        replaced = 0
        for file in before:
            replaced += file.stat().st_size
            file.unlink()
        return replaced

    def last_change(self) -> float | None:
        """When a part came last, or the facts changed; None while bytes arrive."""
        if any(_is_written(file) for file in self.path.glob("incoming-*")):
            return None
        return self.path.stat().st_mtime

    def drop_broken_off(self) -> int:
        """Remove what arrived of parts that nobody writes any more; how many bytes that was."""
        dropped = 0
        for file in self.path.glob("incoming-*"):
            with contextlib.suppress(FileNotFoundError):
                if not _is_written(file):
                    dropped += file.stat().st_size
                    file.unlink()
        return dropped

    def clear(self) -> None:
        """Remove all bytes that were uploaded; the facts stay."""
        for file in (*self.path.glob("part-*"), *self.path.glob("incoming-*")):
            file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def size(self) -> int:
        """Bytes of it that are here."""
        found = 0
        for file in self.path.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += file.stat().st_size if file.name.startswith(("part-", "incoming-")) else 0
        return found

    def _files(self) -> dict[int, tuple[Part, str]]:
        found: dict[int, tuple[Part, str]] = {}
        for name in sorted(entry.name for entry in os.scandir(self.path)):
            parsed = _PART.fullmatch(name)
            if parsed is None:
                continue
            with contextlib.suppress(FileNotFoundError):  # replaced at this moment
                size = (self.path / name).stat().st_size
                found[int(parsed[1])] = (Part(number=int(parsed[1]), size=size, sha256=parsed[3]), name)
        return found


def is_locked(descriptor: int) -> bool:
    """Whether somebody else holds the lock of a file; it is ours if not."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_written(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return is_locked(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
