"""What each site has under way, against what it may; for any thread.

Counted as bytes arrive, and added up anew from the disk now and then: several engines may share the folder.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from channels.inbound.uploads.refusal import Reason, UploadRefused
from engine.errors import Busy


@dataclass
class _Entry:
    site: str
    size: int


class Ledger:
    """Uploads that are not over, and their bytes."""

    def __init__(self, max_open: int, max_waiting: int) -> None:
        self._max_open = max_open
        self._max_waiting = max_waiting
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def recount(self, found: Mapping[str, tuple[str, int]]) -> None:
        """What there is on disk: upload -> site and bytes."""
        with self._lock:
            self._entries = {upload: _Entry(site, size) for upload, (site, size) in found.items()}

    def begin(self, upload_id: str, site: str) -> None:
        """Another upload; UploadRefused(QUOTA) when the site has too many."""
        with self._lock:
            if sum(one.site == site for one in self._entries.values()) >= self._max_open:
                raise UploadRefused(
                    Reason.QUOTA,
                    f"the site has {self._max_open} uploads under way, its limit; complete or abort some",
                )
            self._entries[upload_id] = _Entry(site, 0)

    def grow(self, upload_id: str, site: str, size: int) -> None:
        """So many bytes come to it; UploadRefused(QUOTA) when the site has too many that wait."""
        with self._lock:
            waiting = sum(one.size for one in self._entries.values() if one.site == site)
            if waiting + size > self._max_waiting:
                raise UploadRefused(
                    Reason.QUOTA,
                    f"{waiting} bytes of the site wait to be taken in, {self._max_waiting} may; "
                    "complete or abort some uploads",
                )
            self._entries.setdefault(upload_id, _Entry(site, 0)).size += size

    def shrink(self, upload_id: str, size: int) -> None:
        """So many have gone."""
        with self._lock:
            if upload_id in self._entries:
                self._entries[upload_id].size = max(0, self._entries[upload_id].size - size)

    def end(self, upload_id: str) -> None:
        """It is over."""
        with self._lock:
            self._entries.pop(upload_id, None)

    def by_site(self) -> dict[str, tuple[int, int]]:
        """Uploads and bytes of each site."""
        with self._lock:
            found: dict[str, tuple[int, int]] = {}
            for one in self._entries.values():
                uploads, size = found.get(one.site, (0, 0))
                found[one.site] = (uploads + 1, size + one.size)
            return found


def full() -> Busy:
    """A write has failed for want of space."""
    return Busy("no space is left for uploads", storage_full=True)
