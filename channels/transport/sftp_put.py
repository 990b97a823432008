"""Put a file where its reader never sees half of it: bytes and a path in, the whole file under its name out.

It is written under a name of its own beside its place, synced where the server can, measured, and renamed
(OpenSSH's `posix-rename` and `fsync`; draft-ietf-secsh-filexfer-02). What an earlier attempt left there under
that name is gone on with: its identifier says that the bytes are the same.
"""

from __future__ import annotations

import contextlib
import posixpath
from pathlib import Path

import asyncssh

from channels.transport.ssh import Session
from engine.errors import TryAgain

PIECE = 1 << 20
"""Bytes that are under way at once. A cut loses no piece but the last, so that is written again."""


async def put(session: Session, path: str, identifier: str, content: bytes | Path) -> None:
    """Returns when the whole file has its name; an older one of that name is replaced.

    Args:
        identifier: of these bytes: the same for every attempt, another for other bytes.
    """
    sftp = session.sftp
    folder, name = posixpath.split(path)
    await _make_folders(session, folder)
    unfinished = posixpath.join(folder, f".{identifier}.part")
    size = _length(content)
    begin = resume_at(await _size(sftp, unfinished), size)
    flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | (0 if begin else asyncssh.FXF_TRUNC)
    async with sftp.open(unfinished, flags, encoding=None) as file:
        session.progress()
        for offset in range(begin, size, PIECE):
            await file.write(_piece(content, offset), offset)
            session.progress()
        with contextlib.suppress(asyncssh.SFTPOpUnsupported):
            await file.fsync()
            session.progress()
    if await _size(sftp, unfinished) != size:
        raise TryAgain("the server has another number of bytes than were sent", code="size", uncertain=False)
    await _rename(sftp, unfinished, posixpath.join(folder, name))
    session.progress()


async def mark(session: Session, path: str) -> None:
    """An empty file, which says that the one beside it is complete."""
    async with session.sftp.open(path, asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_TRUNC):
        session.progress()


def resume_at(there: int, size: int) -> int:
    """Where to go on, of so many bytes that are there already; 0 where they cannot be ours."""
    return 0 if there > size or not there else (there - 1) // PIECE * PIECE


def _length(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _piece(content: bytes | Path, offset: int) -> bytes:
    if isinstance(content, bytes):
        return content[offset : offset + PIECE]
    with content.open("rb") as file:
        file.seek(offset)
        return file.read(PIECE)


async def _size(sftp: asyncssh.SFTPClient, path: str) -> int:
    try:
        return (await sftp.stat(path)).size or 0
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return 0


async def _make_folders(session: Session, folder: str) -> None:
    """What is there is left alone: not every server lets its users ask for folders above their own."""
    if not folder or folder == "/" or await session.sftp.isdir(folder):
        session.progress()
        return
    await _make_folders(session, posixpath.dirname(folder))
    try:
        await session.sftp.mkdir(folder)
    except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):  # another delivery was first
        if not await session.sftp.isdir(folder):
            raise
    session.progress()


async def _rename(sftp: asyncssh.SFTPClient, old: str, new: str) -> None:
    try:
        await sftp.posix_rename(old, new)
    except asyncssh.SFTPOpUnsupported:  # as version 3 has it: never over a file that is there
        with contextlib.suppress(asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            await sftp.remove(new)
        await sftp.rename(old, new)
