"""What an operator points at, as contents that may be sent: paths in, files and members of archives out.

Folders are walked in the order of names, ZIP archives are read where they lie, links to folders are not
followed. Nothing is opened twice here, and nothing says yet whether a content is DICOM: a sender looks.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.archive import is_archive, members
from engine.sender import Openable


@dataclass(frozen=True, slots=True)
class Found:
    """One content, under the name that an operator knows it by."""

    name: str
    content: Path | Openable


@dataclass(frozen=True, slots=True)
class Skipped:
    """One that is not sent, and why."""

    name: str
    reason: str


def contents(paths: Sequence[Path]) -> Iterator[Found | Skipped]:
    """Every file below the paths, archives opened."""
    for path in paths:
        for file in _files(path):
            yield from _contents(file)


def printable(name: str) -> str:
    """A name as a terminal may show it: a file's name can carry control characters."""
    return "".join(character if character.isprintable() else "?" for character in name)


def reason_of(error: OSError) -> str:
    """The system's words, without the path."""
    return f"it cannot be read: {(error.strerror or 'unknown reason').lower()}"


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            yield Path(folder, name)


def _contents(path: Path) -> Iterator[Found | Skipped]:
    name = printable(str(path))
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            yield Skipped(name, "it is no regular file")
            return
        if not is_archive(path):
            yield Found(name, path)
            return
        for member in members(path):
            inside = f"{name}/{printable(member.name)}"
            if member.is_encrypted:
                yield Skipped(inside, "it is encrypted")
            else:
                yield Found(inside, member)
    except OSError as error:
        yield Skipped(name, reason_of(error))
    except ValueError as error:
        yield Skipped(name, str(error))
