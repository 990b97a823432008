"""One SFTP session: requests of a client in, what is done in its site's root out (SFTP version 3).

Enter: the requests of draft-ietf-secsh-filexfer-02 and OpenSSH's `posix-rename`, `fsync`. Leave: answers;
files below `/input`. A close that was answered with success means that the bytes are on disk. What asks for a
link, another owner or a mode is refused or passed over: nothing here has either.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh

from channels.inbound.sftp_root import FAILED, Parts, Root, is_removable, is_writable, parts_of
from channels.inbound.sftp_uploads import Uploads
from engine.errors import Busy

T = TypeVar("T")

LOOK_AT_DISK = 64 << 20  # bytes after which a writer hears whether there is room for more


@dataclass(eq=False, slots=True)
class Handle:
    """An open file."""

    descriptor: int
    parts: Parts
    size: int
    writes: bool
    appends: bool
    unchecked: int = 0  # bytes written since the disk was looked at


@dataclass(frozen=True, slots=True)
class Desk:
    """What the sessions of one site share."""

    root: Root
    uploads: Uploads
    threads: Executor
    check_disk: Callable[[], None]
    """Raises Busy when nothing more may be written."""


class Session(asyncssh.SFTPServer):
    """What asyncssh calls for each request, one after the other."""

    def __init__(
        self,
        channel: asyncssh.SSHServerChannel[bytes],
        desk: Desk,
        max_handles: int,
        is_over: Callable[[], bool],
        on_exit: Callable[[], None],
    ) -> None:
        """
        Args:
            is_over: whether the client has gone, so that what is closed now was not closed by it.
        """
        super().__init__(channel)
        self._root = desk.root
        self._uploads = desk.uploads
        self._desk = desk
        self._max_handles = max_handles
        self._is_over = is_over
        self._on_exit = on_exit
        self._handles = 0

    async def _run(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        call = asyncio.get_running_loop().run_in_executor(
            self._desk.threads, lambda: work(*arguments, **named)
        )
        return await asyncio.shield(call)

    def map_path(self, path: bytes) -> bytes:
        """No request of asyncssh's own reaches the file system of this machine."""
        raise asyncssh.SFTPOpUnsupported("not supported here")

    # ── files ──

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Open for reading, or below `/input` for writing, from any place or at the end: clients resume."""
        parts = parts_of(path)
        if self._handles >= self._max_handles:
            raise asyncssh.SFTPFailure(f"{self._max_handles} files are open in this session; close one first")
        if not pflags & (asyncssh.FXF_WRITE | asyncssh.FXF_APPEND):
            descriptor = await self._run(self._root.open, parts, os.O_RDONLY)
            return self._handle(descriptor, parts, writes=False, appends=False)
        _may_write(parts)
        self._check_disk()
        flags = os.O_RDWR if pflags & asyncssh.FXF_READ else os.O_WRONLY
        appends = bool(pflags & asyncssh.FXF_APPEND)
        flags |= os.O_APPEND if appends else 0
        flags |= os.O_CREAT if pflags & asyncssh.FXF_CREAT else 0
        flags |= os.O_EXCL if pflags & asyncssh.FXF_EXCL else 0
        was_cut_off = self._uploads.opened(parts)
        try:
            handle = await self._run(self._open_to_write, parts, flags, appends, pflags & asyncssh.FXF_TRUNC)
        except BaseException:
            self._uploads.closed(parts, by_client=not was_cut_off)
            raise
        self._handles += 1
        return handle

    def _open_to_write(self, parts: Parts, flags: int, appends: bool, truncate: int) -> Handle:
        new = False
        try:
            self._root.stat(parts)
        except FileNotFoundError:
            new = bool(flags & os.O_CREAT)
        if new:
            self._root.waiting.grow(0, 1)
        try:
            descriptor = self._root.open(parts, flags)
        except BaseException:
            if new:
                self._root.waiting.shrink(0, 1)
            raise
        try:
            size = _regular(descriptor).st_size
            if truncate and size:
                os.ftruncate(descriptor, 0)
                self._root.waiting.shrink(size, 0)
                size = 0
        except BaseException:
            os.close(descriptor)
            raise
        return Handle(descriptor, parts, size, writes=True, appends=appends)

    def _handle(self, descriptor: int, parts: Parts, *, writes: bool, appends: bool) -> Handle:
        try:
            size = _regular(descriptor).st_size
        except BaseException:
            os.close(descriptor)
            raise
        self._handles += 1
        return Handle(descriptor, parts, size, writes, appends)

    async def close(self, file_obj: object) -> None:
        """What was written is synced before the client hears that it is."""
        handle = _own(file_obj)
        by_client = not self._is_over()
        self._handles -= 1
        try:
            if handle.writes:
                await self._run(_sync, handle, self._root)
        finally:
            os.close(handle.descriptor)
            if handle.writes:
                self._uploads.closed(handle.parts, by_client=by_client)

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """Bytes from a place."""
        return await self._run(os.pread, _own(file_obj).descriptor, size, offset)

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Bytes to a place, within what may wait."""
        handle = _own(file_obj)
        if not handle.writes:
            raise asyncssh.SFTPPermissionDenied("the file is open for reading only")
        handle.unchecked += len(data)
        if handle.unchecked > LOOK_AT_DISK:
            self._check_disk()
            handle.unchecked = 0
        end = (handle.size if handle.appends else offset) + len(data)
        if end > handle.size:
            self._root.waiting.grow(end - handle.size)
            handle.size = end
        return await self._run(_write, handle, data, offset)

    async def fsync(self, file_obj: object) -> None:
        """OpenSSH's fsync: what was written so far is on disk."""
        await self._run(os.fsync, _own(file_obj).descriptor)

    def _check_disk(self) -> None:
        try:
            self._desk.check_disk()
        except Busy as error:
            raise asyncssh.SFTPFailure(f"{error}; try again later") from None

    # ── names ──

    async def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Facts of a file or folder; there are no links to follow."""
        return asyncssh.SFTPAttrs.from_local(await self._run(self._root.stat, parts_of(path)))

    async def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """As `stat`."""
        return await self.stat(path)

    async def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        """Facts of an open file."""
        return asyncssh.SFTPAttrs.from_local(await self._run(os.fstat, _own(file_obj).descriptor))

    async def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Modes and times are passed over: `put -p` must not fail for them. A size is not set."""
        parts = parts_of(path)
        _may_write(parts)
        if attrs.size is not None:
            raise asyncssh.SFTPOpUnsupported("a size cannot be set; open the file to truncate it")
        await self._run(self._root.stat, parts)

    async def lsetstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """As `setstat`."""
        await self.setstat(path, attrs)

    async def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        """OpenSSH sets the size of what it resumes; nothing else is set."""
        handle = _own(file_obj)
        if attrs.size is None:
            return
        if not handle.writes or attrs.size > handle.size:
            raise asyncssh.SFTPPermissionDenied("a file can be made shorter by who writes it, nothing else")
        await self._run(os.ftruncate, handle.descriptor, attrs.size)
        self._root.waiting.shrink(handle.size - attrs.size, 0)
        handle.size = attrs.size

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """What is in a folder."""
        parts = parts_of(path)
        here = asyncssh.SFTPAttrs.from_local(await self._run(self._root.stat, parts))
        for name in (b".", b".."):
            yield asyncssh.SFTPName(name, attrs=here)
        for entry, facts in await self._run(self._root.listed, parts):
            yield asyncssh.SFTPName(os.fsencode(entry), attrs=asyncssh.SFTPAttrs.from_local(facts))

    async def remove(self, path: bytes) -> None:
        """Remove a file, once nobody writes to it."""
        parts = parts_of(path)
        _may_write(parts, allowed=is_removable)
        await self._run(self._root.remove, parts)
        self._uploads.forget(parts)

    async def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Make a folder below `/input`."""
        parts = parts_of(path)
        _may_write(parts)
        await self._run(self._root.make_folder, parts)

    async def rmdir(self, path: bytes) -> None:
        """Remove an empty folder."""
        parts = parts_of(path)
        _may_write(parts, allowed=is_removable)
        await self._run(self._root.remove_folder, parts)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """As version 3 has it: what is there is not replaced."""
        await self._rename(oldpath, newpath, replace=False)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """OpenSSH's: what is there is replaced."""
        await self._rename(oldpath, newpath, replace=True)

    async def _rename(self, oldpath: bytes, newpath: bytes, *, replace: bool) -> None:
        old, new = parts_of(oldpath), parts_of(newpath)
        # What was refused may be put back, to be tried again.
        _may_write(old, allowed=lambda one: is_writable(one) or (len(one) == 3 and one[1] == FAILED))
        _may_write(new)
        if self._uploads.is_writing(old):
            raise asyncssh.SFTPFailure("somebody writes to it; close it first")
        await self._run(self._root.rename, old, new, replace=replace)
        self._uploads.placed(old, new)

    async def realpath(self, path: bytes) -> bytes:
        """A path from the root on."""
        return b"/" + b"/".join(os.fsencode(part) for part in parts_of(path))

    def readlink(self, path: bytes) -> bytes:
        """There are no links."""
        raise asyncssh.SFTPOpUnsupported("there are no links here")

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """None may be made."""
        raise asyncssh.SFTPPermissionDenied("links are not made here")

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        """None may be made."""
        raise asyncssh.SFTPPermissionDenied("links are not made here")

    def statvfs(self, path: bytes) -> Any:
        """How full this machine's disk is, is nobody's business."""
        raise asyncssh.SFTPOpUnsupported("not supported here")

    def fstatvfs(self, file_obj: object) -> Any:
        """As `statvfs`."""
        raise asyncssh.SFTPOpUnsupported("not supported here")

    def exit(self) -> None:
        """The session is over; asyncssh has closed its files before."""
        self._on_exit()


def _may_write(parts: Parts, allowed: Callable[[Parts], bool] = is_writable) -> None:
    if not allowed(parts):
        raise asyncssh.SFTPPermissionDenied(
            "only what is below /input may be written, apart from .done and .failed"
        )


def _own(file_obj: object) -> Handle:
    assert isinstance(file_obj, Handle)
    return file_obj


def _regular(descriptor: int) -> os.stat_result:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EISDIR, "not a regular file")
    return facts


def _write(handle: Handle, data: bytes, offset: int) -> int:
    view = memoryview(data)
    while view:
        if handle.appends:
            written = os.write(handle.descriptor, view)
        else:
            written = os.pwrite(handle.descriptor, view, offset)
        offset += written
        view = view[written:]
    return len(data)


def _sync(handle: Handle, root: Root) -> None:
    os.fsync(handle.descriptor)
    try:
        root.sync_parent(handle.parts)
    except FileNotFoundError:  # its folder was renamed meanwhile: that was synced then
        return
