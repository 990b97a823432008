"""The virtual root of one site: paths as an SFTP client says them in, file descriptors below its folder out.

A client sees `/input`, `/output` and `/status` and nothing else. `..` ends at the root (as in a chroot), and
each folder on the way is opened from the one above it without following links, so that no name and no link
that somebody put there leads out. Only what is in `/input` may be written, apart from `.done` and `.failed`,
where the engine files what it took and what it refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from channels.transport.sftp_layout import FILES

Parts = tuple[str, ...]

FOLDERS = ("input", "output", "status")
DONE, FAILED = ".done", ".failed"
DEEPEST = 32
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parts_of(path: bytes) -> Parts:
    """A client's path from the root on; raises OSError where it cannot be one."""
    if b"\0" in path:
        raise OSError(errno.EINVAL, "a path holds no NUL")
    found = posixpath.normpath(b"/" + path)
    parts = tuple(os.fsdecode(part) for part in found.split(b"/") if part)
    if len(parts) > DEEPEST:
        raise OSError(errno.ENAMETOOLONG, f"more than {DEEPEST} folders in each other")
    return parts


def is_writable(parts: Parts) -> bool:
    """Whether a client may make or change what is called so."""
    return len(parts) > 1 and parts[0] == "input" and parts[1] not in (DONE, FAILED)


def is_removable(parts: Parts) -> bool:
    """Whether a client may remove it: its own uploads, and what was filed of them."""
    return is_writable(parts) or (len(parts) > 2 and parts[0] == "input")


@dataclass
class Waiting:
    """What lies in `/input` and is not taken yet, against what may; for any thread."""

    max_bytes: int
    max_files: int
    size: int = 0
    files: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def grow(self, size: int, files: int = 0) -> None:
        """So much comes to it; raises OSError(EDQUOT) when that is too much."""
        with self._lock:
            if self.size + size > self.max_bytes or self.files + files > self.max_files:
                raise OSError(
                    errno.EDQUOT,
                    f"{self.files} files with {self.size} bytes wait to be taken in, which is the limit; "
                    "wait until they are, or remove some",
                )
            self.size += size
            self.files += files

    def shrink(self, size: int, files: int) -> None:
        """So much has gone."""
        with self._lock:
            self.size = max(0, self.size - size)
            self.files = max(0, self.files - files)


class Root:
    """One site's folder below the channel's; blocks, so it is called in worker threads."""

    def __init__(self, folder: Path, max_bytes: int, max_files: int) -> None:
        self.top = folder / FILES
        self.open_marks = folder / "open"
        self.taking = folder / "taking"
        for one in (*(self.top / name for name in FOLDERS), self.open_marks, self.taking):
            one.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (DONE, FAILED):
            (self.input / name).mkdir(exist_ok=True, mode=0o700)
        self.waiting = Waiting(max_bytes, max_files)
        for entry in self.entries():
            size, files, _ = measure(self.input / entry)
            self.waiting.shrink(-size, -files)  # what is there is there, whatever the limit

    @property
    def input(self) -> Path:
        """Where uploads are written."""
        return self.top / "input"

    def entries(self) -> list[str]:
        """What lies in `/input` itself, in the order of names; not what the engine files there."""
        return sorted(one.name for one in self.input.iterdir() if one.name not in (DONE, FAILED))

    @contextlib.contextmanager
    def parent(self, parts: Parts) -> Iterator[tuple[int, str]]:
        """The folder above, as a descriptor, and the last name in it; the root itself is `.` in it."""
        descriptor = os.open(self.top, _FOLDER)
        try:
            for part in parts[:-1]:
                below = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor, parts[-1] if parts else "."
        finally:
            os.close(descriptor)

    def stat(self, parts: Parts) -> os.stat_result:
        """Of what is called so, links not followed."""
        with self.parent(parts) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def listed(self, parts: Parts) -> list[tuple[str, os.stat_result]]:
        """What is in a folder."""
        with self.parent(parts) as (folder, name):
            descriptor = os.open(name, _FOLDER, dir_fd=folder)
            try:
                found = []
                for entry in os.listdir(descriptor):  # noqa: PTH208  # of a descriptor, not of a path
                    with contextlib.suppress(FileNotFoundError):  # taken in at this moment
                        found.append((entry, os.stat(entry, dir_fd=descriptor, follow_symlinks=False)))
                return found
            finally:
                os.close(descriptor)

    def open(self, parts: Parts, flags: int) -> int:
        """A descriptor of a regular file; OSError for all that is something else."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with self.parent(parts) as (folder, name):
            return os.open(name, flags, 0o600, dir_fd=folder)

    def remove(self, parts: Parts) -> None:
        """Remove a file."""
        with self.parent(parts) as (folder, name):
            size = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
            os.unlink(name, dir_fd=folder)
        if is_writable(parts):
            self.waiting.shrink(size, 1)

    def make_folder(self, parts: Parts) -> None:
        """Make a folder."""
        self.waiting.grow(0, 1)
        try:
            with self.parent(parts) as (folder, name):
                os.mkdir(name, 0o700, dir_fd=folder)
        except OSError:
            self.waiting.shrink(0, 1)
            raise

    def remove_folder(self, parts: Parts) -> None:
        """Remove an empty folder."""
        with self.parent(parts) as (folder, name):
            os.rmdir(name, dir_fd=folder)
        if is_writable(parts):
            self.waiting.shrink(0, 1)

    def rename(self, old: Parts, new: Parts, *, replace: bool) -> None:
        """Give another name, durable on return; an existing one is replaced only where that is asked for."""
        with self.parent(old) as (folder, name), self.parent(new) as (other, final):
            replaced = None
            with contextlib.suppress(FileNotFoundError):
                replaced = os.stat(final, dir_fd=other, follow_symlinks=False)
            if replaced is not None and not replace:
                raise OSError(errno.EEXIST, "there is something of that name already")
            os.rename(name, final, src_dir_fd=folder, dst_dir_fd=other)
            os.fsync(other)
        if replaced is not None and old != new:
            self.waiting.shrink(replaced.st_size, 1)

    def sync_parent(self, parts: Parts) -> None:
        """Make a name durable."""
        with self.parent(parts) as (folder, _):
            os.fsync(folder)


def measure(path: Path) -> tuple[int, int, int]:
    """Bytes, files and folders, and the latest change of what lies at a path; links are not followed."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return 0, 0, 0
    is_folder = path.is_dir() and not path.is_symlink()
    size, files, latest = 0 if is_folder else facts.st_size, 1, facts.st_mtime_ns
    if is_folder:
        for entry in os.scandir(path):
            more, others, later = measure(Path(entry.path))
            size, files, latest = size + more, files + others, max(latest, later)
    return size, files, latest


def remove_tree(path: Path) -> None:
    """Remove a file or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
