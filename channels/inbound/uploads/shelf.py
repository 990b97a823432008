"""The folders of all uploads of one channel, below `uploads/<channel>` of the data folder. Blocks.

An upload's id is its order's with a number behind it: each order has one upload under way at most, and asking
for one again gives the same. What is half made has no name of an upload yet.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from channels.inbound.uploads.folder import FACTS, UploadFolder, sync_folder
from channels.inbound.uploads.refusal import Reason, UploadRefused
from channels.inbound.uploads.upload import Kind, Upload, UploadState, moment

_ID = re.compile(r"([0-9a-f]{32})\.(\d{1,9})", re.ASCII)
_HALF_MADE = 3600.0  # seconds after which what is half made is nobody's


class Shelf:
    """Any process may have it at the same time."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock

    def folder(self, upload_id: str) -> UploadFolder:
        """Of an upload; UploadRefused(NOT_FOUND) when it is none."""
        if not _ID.fullmatch(upload_id) or not (self._root / upload_id / FACTS).is_file():
            raise not_found()
        return UploadFolder(self._root / upload_id)

    def ids(self) -> list[str]:
        """Every upload that there is."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(entry.name for entry in os.scandir(self._root) if _ID.fullmatch(entry.name))
        return []

    def begin(
        self,
        order_id: str,
        site: str,
        kind: Kind,
        max_size: int,
        size: int | None,
        sha256: str | None,
        count: Callable[[str], None],
    ) -> tuple[Upload, bool]:
        """The upload of an order that is under way, and whether it is new.

        Args:
            count: called with the id of a new one; may refuse.

        Raises:
            UploadRefused: one of another kind, size or digest is under way.
        """
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            serial = 1
            for upload_id in self._of_order(order_id):
                upload = self.folder(upload_id).facts()
                serial = int(upload_id.rpartition(".")[2]) + 1
                if upload.is_over:
                    continue
                if (upload.kind, upload.size, upload.sha256) != (kind, size, sha256):
                    raise UploadRefused(
                        Reason.STATE,
                        f"upload {upload_id} of this order is under way, and was begun otherwise; "
                        "go on with it, or abort it",
                    )
                return upload, False
            now = self._clock()
            upload = Upload(
                upload_id=f"{order_id}.{serial}",
                order_id=order_id,
                site=site,
                kind=kind,
                size=size,
                sha256=sha256,
                max_size=max_size,
                created_at=moment(now),
                changed_at=moment(now),
            )
            count(upload.upload_id)
            half_made = self._root / f"new-{uuid.uuid4().hex}"
            half_made.mkdir(mode=0o700)
            UploadFolder(half_made).write(upload)
            half_made.rename(self._root / upload.upload_id)
            sync_folder(self._root)
            return upload, True

    def under_way(self, order_id: str) -> Upload | None:
        """The upload of an order that is not over."""
        for upload_id in self._of_order(order_id):
            with contextlib.suppress(FileNotFoundError, UploadRefused):
                upload = self.folder(upload_id).facts()
                if not upload.is_over:
                    return upload
        return None

    def sweep(self) -> None:
        """Remove what was half made when its process ended."""
        for path in self._root.glob("new-*"):
            with contextlib.suppress(FileNotFoundError):
                if self._clock() - path.stat().st_mtime > _HALF_MADE:
                    UploadFolder(path).remove()

    def counted(self) -> dict[str, tuple[str, int]]:
        """Site and bytes of each upload that is not over."""
        found = {}
        for upload_id in self.ids():
            with contextlib.suppress(FileNotFoundError, UploadRefused):
                folder = self.folder(upload_id)
                upload = folder.facts()
                if not upload.is_over:
                    found[upload_id] = (upload.site, folder.size())
        return found

    def in_state(self, state: UploadState) -> list[str]:
        """The uploads in a state."""
        found = []
        for upload_id in self.ids():
            with contextlib.suppress(FileNotFoundError, UploadRefused):
                if self.folder(upload_id).facts().state is state:
                    found.append(upload_id)
        return found

    def _of_order(self, order_id: str) -> list[str]:
        found = [one for one in self.ids() if one.startswith(f"{order_id}.")]
        return sorted(found, key=lambda one: int(one.rpartition(".")[2]))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def not_found() -> UploadRefused:
    """No such upload among those that one may see."""
    return UploadRefused(Reason.NOT_FOUND, "there is no such upload; begin one for its order")
