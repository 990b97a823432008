"""Reading one file of a package: never more than it announced, and what is wrong with it as a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from engine.errors import PackageRefused, PackageRefusedReason
from engine.package.files import PackageFile

CHUNK = 1 << 18  # bytes


@contextmanager
def stream_of(file: PackageFile, buffer: int = CHUNK) -> Iterator[BufferedReader]:
    """A file as a buffered stream; an error of the archive or the disk inside refuses the package."""
    try:
        raw: Any = file.open()  # a raw stream in all but name
        with BufferedReader(raw, buffer) as stream:
            yield stream
    except OSError:
        raise damaged(file) from None


def chunks_of(file: PackageFile) -> Iterator[bytes]:
    """A file's bytes, exactly as many as it announced."""
    size = 0
    with stream_of(file) as stream:
        while data := stream.read(CHUNK):
            size += len(data)
            if size > file.size:
                break
            yield data
        if size != file.size:
            raise damaged(file)


def whole(file: PackageFile) -> bytes:
    """All of a file that is known to be small."""
    return b"".join(chunks_of(file))


def drain(stream: BufferedReader, file: PackageFile) -> None:
    """Read on to the end, where the checksum is compared; refuses the package when the size is another."""
    while stream.read(CHUNK):
        pass
    if stream.tell() != file.size:
        raise damaged(file)


def damaged(file: PackageFile) -> PackageRefused:
    """A file that is not what its archive or its folder said."""
    return PackageRefused(
        PackageRefusedReason.DAMAGED, f"{file.place} is damaged or was cut short; pack and upload it again"
    )
