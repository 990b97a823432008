"""A small disk of our own that can be filled to the last byte: a tmpfs, mounted where the data goes.

Needs root. Enter: an empty folder. Leave: it is a file system of a fixed size while entered.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


class Disk:
    """One mounted tmpfs."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._ballast = folder / "ballast"

    def __enter__(self) -> Disk:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"size={self._megabytes}m,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "pons-faults", self.folder], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is free while entered, whatever else is removed meanwhile goes to others."""
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            for block in (bytes(1 << 20), bytes(4096)):
                with contextlib.suppress(_Full):
                    while True:
                        _write(descriptor, block)
            yield
        finally:
            os.close(descriptor)
            self._ballast.unlink()


class _Full(Exception):
    """No space is left."""


def _write(descriptor: int, block: bytes) -> None:
    try:
        os.write(descriptor, block)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _Full from None


def may_mount() -> bool:
    """Whether this process may mount at all."""
    return os.geteuid() == 0
