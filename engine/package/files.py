"""The files of a package: a single file, a folder or a ZIP archive in, its files as streams out.

Nothing is unpacked to a path, and no name in a package is ever used as one: names tell litter and kinds
apart, and what is said of a file says its place. Links are not followed. What is refused is refused before
a file is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.archive import ARCHIVES
from engine.errors import PackageRefused, PackageRefusedReason
from engine.package.limits import PackageLimits
from engine.package.litter import is_litter
from engine.package.whole import Whole
from engine.package.zip_archive import members_of
from engine.settings import size_text

DEEPEST = 32  # folders in each other


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file of a package."""

    place: str  # how an error calls it: "file 17 of 260"
    name: str  # its last part, lower case; never shown
    size: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class PackageFiles:
    """All that matter, and how many were passed over."""

    files: tuple[PackageFile, ...]
    skipped: int
    close: Callable[[], None]


def files_of(source: Path | Sequence[Path], limits: PackageLimits) -> PackageFiles:
    """The files of what lies at a path, or in the pieces of one file.

    Raises:
        PackageRefused: it is not what a package may be, or more.
        OSError: it cannot be read.
    """
    if isinstance(source, Path) and stat.S_ISDIR(source.lstat().st_mode):
        return _numbered(list(_below(source, limits)), lambda: None, limits)
    pieces = [source] if isinstance(source, Path) else source
    for piece in pieces:
        _refuse_special(piece.lstat())
    whole = Whole(pieces)
    with whole.open() as stream:
        head = stream.read(4)
    if head in ARCHIVES:
        members, close = members_of(whole, limits)
        try:
            found = [(member.parts, member.size, member.open) for member in members]
            return _numbered(found, close, limits)
        except BaseException:
            close()
            raise
    file = PackageFile("the file", whole.name.lower(), whole.size, whole.raw)
    _refuse_size(file.size, limits)
    return PackageFiles((file,), 0, lambda: None)


def _numbered(
    found: list[tuple[tuple[str, ...], int, Callable[[], BinaryIO]]],
    close: Callable[[], None],
    limits: PackageLimits,
) -> PackageFiles:
    _refuse_size(sum(size for _, size, _ in found), limits)
    files = tuple(
        PackageFile(f"file {number} of {len(found)}", parts[-1].lower(), size, opener)
        for number, (parts, size, opener) in enumerate(found, 1)
        if not is_litter(parts)
    )
    return PackageFiles(files, len(found) - len(files), close)


def _below(
    folder: Path, limits: PackageLimits
) -> Iterator[tuple[tuple[str, ...], int, Callable[[], BinaryIO]]]:
    """The files of a folder in the order of their names, files before folders."""
    entries = 0
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        if len(current.parts) - len(folder.parts) > DEEPEST:
            raise PackageRefused(
                PackageRefusedReason.UNSAFE,
                f"the folder has more than {DEEPEST} folders in each other; upload the study's own folder",
            )
        below = []
        with os.scandir(current) as scanned:
            for entry in scanned:
                entries += 1
                if entries > limits.max_entries:
                    raise too_many(limits)
                below.append(entry)
        below.sort(key=lambda entry: entry.name)
        for entry in below:
            if entry.is_dir(follow_symlinks=False):
                continue
            status = entry.stat(follow_symlinks=False)
            _refuse_special(status)
            path = Path(entry.path)
            yield path.relative_to(folder).parts, status.st_size, _opener(path)
        waiting += [Path(entry.path) for entry in reversed(below) if entry.is_dir(follow_symlinks=False)]


def too_many(limits: PackageLimits) -> PackageRefused:
    """More than may be in it."""
    return PackageRefused(
        PackageRefusedReason.TOO_MANY,
        f"the package has more than {limits.max_entries} files and folders; upload the study in parts",
    )


def _refuse_size(size: int, limits: PackageLimits) -> None:
    if size > limits.max_unpacked:
        raise PackageRefused(
            PackageRefusedReason.TOO_LARGE,
            f"the package unpacks to {size} bytes, {size_text(limits.max_unpacked)} are taken; "
            "upload the study in parts",
        )


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PackageRefused(
            PackageRefusedReason.UNSAFE,
            "the package holds a link or a device; upload the files themselves",
        )


def _opener(path: Path) -> Callable[[], BinaryIO]:
    # A name may have become a link since it was looked at: `Whole` follows none.
    return lambda: Whole([path]).raw()
