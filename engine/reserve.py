"""Disk space set aside, so that a full disk does not stop what is under way.

A file of zeros, really allocated (posix_fallocate). When the disk is full it is given up: what was
accepted before can then be rendered, delivered and settled, while intake stays shut. It is taken back
when there is space again. Engines that share a data folder share the file.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NEARLY_NOTHING = 4 * 1024**2  # bytes; less is free, and any write may be the one that fails


class Reserve:
    """The file, held or given up."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size

    @property
    def held(self) -> bool:
        """Whether the space is set aside; true of a reserve of nothing."""
        return self._allocated() >= self.size

    def give_up(self) -> None:
        """Let what is under way have the space."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.path, 0)

    def take(self) -> bool:
        """Set the space aside; False, and none is taken, when there is too little."""
        if self.held:
            return True
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.size)
        except OSError:
            os.ftruncate(descriptor, 0)
            return False
        finally:
            os.close(descriptor)
        return True

    def _allocated(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


def should_give_up(*, free: int, failed: bool) -> bool:
    """Whether the reserve is needed now.

    Args:
        free: bytes that are free beside it.
        failed: a write has failed for want of space since the last look.
    """
    return failed or free < NEARLY_NOTHING


def should_take(*, free: int, size: int) -> bool:
    """Whether the reserve can be taken back: afterwards there must be something left beside it."""
    return free - size >= 2 * NEARLY_NOTHING
