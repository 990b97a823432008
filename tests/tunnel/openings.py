"""Which of some files are opened, by whomever: inotify(7)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

IN_OPEN = 0x20
EVENT = struct.Struct("iIII")

libc = ctypes.CDLL(None, use_errno=True)


class Openings:
    """Told as they happen."""

    def __init__(self, descriptor: int, files: dict[int, Path]) -> None:
        self._descriptor = descriptor
        self._files = files

    def within(self, seconds: float, until: Path | None = None) -> list[Path]:
        """The files that are opened in this time, which ends early with the opening of one of them."""
        found: list[Path] = []
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and until not in found:
            if select.select([self._descriptor], [], [], left)[0]:
                events = EVENT.iter_unpack(os.read(self._descriptor, EVENT.size * 64))
                found += [self._files[watched] for watched, *_ in events]
        return found


@contextlib.contextmanager
def opened(files: Sequence[Path]) -> Iterator[Openings]:
    """Watch these files, not their folders: an event has no name behind it."""
    descriptor = libc.inotify_init1(0)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        watched = {libc.inotify_add_watch(descriptor, str(file).encode(), IN_OPEN): file for file in files}
        assert min(watched) >= 0, os.strerror(ctypes.get_errno())
        yield Openings(descriptor, watched)
    finally:
        os.close(descriptor)
