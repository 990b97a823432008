"""Where the SFTP channel keeps a site's files, for whoever puts some there: a name and bytes in, a file out.

`data/sftp/<channel>/<site>/files` is what the site's users see as `/`. A file gets its name there when it is
whole and on disk; until then it is in `making`, which nobody sees.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

FILES, MAKING = "files", "making"
OUTPUT, STATUS, GROUPS = "output", "status", "groups"


def site_folder(data: Path, channel: str, site: str) -> Path:
    """The folder of a site; it is there once the channel has listened with a user of it."""
    return data / "sftp" / channel / site


def publish(site: Path, path: str, content: bytes) -> None:
    """Returns when the file is durable under its name; one that is there is replaced.

    Args:
        path: below what users see as `/`; made of names that are safe.
    """
    making = site / MAKING
    making.mkdir(exist_ok=True, mode=0o700)
    part = making / uuid.uuid4().hex
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _place(part, site / FILES, site / FILES / path)
    finally:
        part.unlink(missing_ok=True)


def _place(part: Path, top: Path, final: Path) -> None:
    for _ in range(3):  # an empty folder may be tidied away in between
        new = [one for one in final.parents if one.is_relative_to(top) and not one.exists()]
        final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            part.replace(final)
            break
    for folder in {final.parent, *(one.parent for one in new)}:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def tidy(folder: Path, before: float) -> None:
    """Remove files that were last written before a moment (seconds since 1970), and folders left empty."""
    for entry in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        with contextlib.suppress(OSError):  # gone meanwhile, or a folder that is not empty
            if entry.lstat().st_mtime < before:
                entry.rmdir() if entry.is_dir() else entry.unlink()
