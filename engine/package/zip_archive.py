"""A ZIP archive that a stranger made: its directory in, members that may be read out (APPNOTE 4.3, 4.4).

The directory is counted before it is loaded, since an entry of 46 bytes costs a kilobyte of memory. Then
every entry is looked at before any is read: what it announces, where its name leads, how it is packed.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from engine.archive import Member, opened
from engine.errors import PackageRefused, PackageRefusedReason
from engine.package.limits import PackageLimits, is_bomb
from engine.package.whole import Whole

MOST_DIRECTORY = 64 << 20  # bytes

_END = struct.Struct("<4s4H2LH")  # end of central directory record (4.3.16)
_END_64 = struct.Struct("<4sQ2H2L4Q")  # the same for ZIP64 (4.3.14)
_LOCATOR_64 = struct.Struct("<4sLQL")  # (4.3.15)
_ENTRY = struct.Struct("<4s24x3H12x")  # of a file header: its signature and three lengths (4.3.12)
_UNIX = 3  # version made by (4.4.2): the attributes hold a mode
# Others are refused: zipfile unpacks a block of them whole, however large it becomes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One file of the archive."""

    parts: tuple[str, ...]  # its name, part by part
    size: int  # bytes unpacked; its stream gives no more
    open: Callable[[], BinaryIO]


def members_of(whole: Whole, limits: PackageLimits) -> tuple[list[ZipMember], Callable[[], None]]:
    """The files of an archive in the order of its directory, and what closes it.

    Raises:
        PackageRefused: it is damaged, or not what an upload may be.
        OSError: it cannot be read.
    """
    with ExitStack() as stack:
        file = stack.enter_context(whole.open())
        count = _entries(file, limits)
        try:
            archive = opened(file)
        except ValueError:
            raise _damaged() from None
        stack.callback(archive.file.close)
        entries = archive.file.infolist()
        if len(entries) != count:
            raise _damaged()
        _check_total(entries, whole.size, limits)
        members = []
        seen: set[str] = set()
        for number, info in enumerate(entries, 1):
            member = Member(archive, info)
            parts = _check(member, f"entry {number} of {count}", seen)
            if not info.is_dir():
                members.append(ZipMember(parts, member.size, member.open))
        return members, stack.pop_all().close


def _entries(file: BinaryIO, limits: PackageLimits) -> int:
    """How many entries its directory has, whatever it announces."""
    start, size = _directory(file)
    if size > MOST_DIRECTORY:
        raise PackageRefused(
            PackageRefusedReason.TOO_MANY,
            f"the archive's directory has {size} bytes, {MOST_DIRECTORY} are taken; "
            "upload the study in parts",
        )
    count, place = 0, start
    while place < start + size:
        file.seek(place)
        header = file.read(_ENTRY.size)
        if len(header) < _ENTRY.size or not header.startswith(b"PK\1\2"):
            raise _damaged()
        _, *lengths = _ENTRY.unpack(header)
        place += _ENTRY.size + sum(lengths)
        count += 1
        if count > limits.max_entries:
            raise PackageRefused(
                PackageRefusedReason.TOO_MANY,
                f"the archive has more than {limits.max_entries} files and folders; "
                "upload the study in parts",
            )
    return count


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Where the directory starts, and its size."""
    length = file.seek(0, 2)
    first = max(0, length - _END.size - 0xFFFF)
    file.seek(first)
    tail = file.read()
    found = len(tail) - _END.size
    if found < 0:
        raise _damaged()
    if not (tail.startswith(b"PK\5\6", found) and tail.endswith(b"\0\0")):
        found = tail.rfind(b"PK\5\6", 0, len(tail) - _END.size + 4)  # a comment follows
    if found < 0:
        raise _damaged()
    end = first + found
    size = _END.unpack_from(tail, found)[5]
    locator = end - _LOCATOR_64.size
    if locator >= _END_64.size:
        file.seek(locator - _END_64.size)
        record = file.read(_END_64.size + _LOCATOR_64.size)
        if record.startswith(b"PK\6\6") and record.startswith(b"PK\6\7", _END_64.size):
            end, size = locator - _END_64.size, _END_64.unpack_from(record)[8]
    if size > end:
        raise _damaged()
    return end - size, size


def _check_total(entries: list[zipfile.ZipInfo], packed: int, limits: PackageLimits) -> None:
    unpacked = sum(info.file_size for info in entries)
    if is_bomb(packed, unpacked, limits):
        raise PackageRefused(
            PackageRefusedReason.BOMB,
            f"the archive of {packed} bytes announces {unpacked} unpacked, more than {limits.max_ratio} "
            "times its size; pack the study's own files",
        )


def _check(member: Member, place: str, seen: set[str]) -> tuple[str, ...]:
    """The parts of an entry's name, once nothing speaks against it."""
    info = member.info
    name = info.orig_filename
    parts = tuple(part for part in re.split(r"[/\\]", name) if part not in ("", "."))
    if "\0" in name or ".." in parts or name[:1] in ("/", "\\") or re.match(r"[A-Za-z]:", name) or not parts:
        raise PackageRefused(
            PackageRefusedReason.UNSAFE,
            f"{place} has a name that leads out of the archive; pack the folder with relative names",
        )
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise PackageRefused(
            PackageRefusedReason.UNSAFE, f"{place} is a link or a device; pack the files themselves"
        )
    key = "/".join(parts)
    if key in seen:
        raise PackageRefused(
            PackageRefusedReason.DUPLICATE, f"{place} has the name of an earlier one; pack the folder anew"
        )
    seen.add(key)
    if member.is_encrypted:
        raise PackageRefused(
            PackageRefusedReason.ENCRYPTED, f"{place} is encrypted; pack it without a password"
        )
    if info.compress_type not in _METHODS:
        raise PackageRefused(
            PackageRefusedReason.UNSUPPORTED,
            f"{place} is packed by method {info.compress_type}; "
            "pack it with deflate, as ZIP programs usually do",
        )
    return parts


def _damaged() -> PackageRefused:
    return PackageRefused(
        PackageRefusedReason.DAMAGED,
        "the archive is damaged or was cut short; pack it anew and upload it again",
    )
