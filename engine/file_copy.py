"""Files of a backup: copied privately and durably, or sharing the blocks of their source.

Files of the data folder are written once and never changed, so a copy may be a reflink or a hard link.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path

from engine.manifest import CHUNK, Listed

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of a file until either is changed


def make_private(folder: Path) -> None:
    """Make a folder and those above it that are not there, each for its owner alone."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def copy_file(source: Path, copy: Path, path: str) -> Listed:
    """Copy a file with its time, private and synced (its name is not yet), and take its digest."""
    summing = hashlib.sha256()
    size = 0
    with source.open("rb") as file:
        facts = os.fstat(file.fileno())
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as out:
            while chunk := file.read(CHUNK):
                out.write(chunk)
                summing.update(chunk)
                size += len(chunk)
            os.utime(out.fileno(), ns=(facts.st_atime_ns, facts.st_mtime_ns))
            os.fsync(out.fileno())
    return Listed(path, size, summing.hexdigest())


def share(source: Path, copy: Path) -> bool:
    """Whether the copy could be made of the very blocks of its source: a reflink, else a hard link."""
    with source.open("rb") as file:
        os.fsync(file.fileno())  # a small instance is durable by the log alone for a while
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            facts = os.fstat(file.fileno())
            fcntl.ioctl(descriptor, _FICLONE, file.fileno())
            os.utime(descriptor, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            os.fsync(descriptor)
        except OSError:
            copy.unlink()
        else:
            return True
        finally:
            os.close(descriptor)
    try:
        os.link(source, copy)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP):
            return False
        raise
    return True


def sync_file(path: Path) -> None:
    """Make a file's bytes durable, whoever wrote them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
