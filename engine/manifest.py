"""What a backup is on disk, and how one is found to be whole.

    BACKUP/manifest.json   written last: without it there is no backup
    BACKUP/pons.sqlite     every row, as at one instant
    BACKUP/files.jsonl     a line for each file below data/: path, size, SHA-256
    BACKUP/data/…          the files, under the names that the data folder has for them

The manifest holds the digests of the database and of the list, the list those of all files. A list
is read line by line, so a backup of any size is verified in little memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from engine.errors import PonsError

FORMAT = "pons.backup/1"
MANIFEST, DATABASE, FILES, DATA = "manifest.json", "pons.sqlite", "files.jsonl", "data"
CHUNK = 1024 * 1024
NAMED = 20  # broken files that are named; the rest are counted

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done and how much there is; 0 where that is not known."""


class BrokenBackup(PonsError):
    """It is not whole; the message names what is wrong, one a line."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts of one backup. Times are seconds since the epoch, sizes bytes."""

    schema: str
    engine: str  # the release that made it
    table: str  # version of the routing table
    taken_at: float  # the instant of the database; what came later is not in it
    finished_at: float
    database_size: int
    database_sha256: str
    list_sha256: str
    files: int
    size: int  # of all files
    removed: int  # named by the rows, and gone by retention before they could be copied
    missing: int  # named by the rows and not on the disk, which nothing explains
    format: str = FORMAT

    def to_json(self) -> bytes:
        """The document as it is written."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the list. ``absent`` says why there is no file: `removed` or `missing`."""

    path: str  # below the data folder
    size: int = 0
    sha256: str = ""
    absent: str = ""

    def to_json(self) -> bytes:
        """The line as it is written."""
        facts = {key: value for key, value in asdict(self).items() if value != ""}
        return (json.dumps(facts) + "\n").encode()


def read_manifest(backup: Path) -> Manifest:
    """The manifest of a backup; BrokenBackup where there is none that this release can read."""
    path = backup / MANIFEST
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BrokenBackup(
            f"{path}: not there: this is no backup, or one that was interrupted before its end"
        ) from None
    except ValueError:
        raise BrokenBackup(f"{path}: cannot be read: the backup is damaged") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise BrokenBackup(f"{path}: not of the form {FORMAT}: restore it with the release that made it")
    try:
        return Manifest(**facts)
    except TypeError:
        raise BrokenBackup(f"{path}: facts are missing or unknown: the backup is damaged") from None


def listed(backup: Path) -> Iterator[Listed]:
    """The list, line by line; BrokenBackup at a line that is none, or that leaves the data folder."""
    with (backup / FILES).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                one = Listed(**json.loads(line))
            except (ValueError, TypeError):
                raise BrokenBackup(f"{backup / FILES}:{number}: not a line of the list") from None
            path = PurePosixPath(one.path)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise BrokenBackup(f"{backup / FILES}:{number}: names a file outside the data folder")
            yield one


def verify(backup: Path, progress: Progress) -> Manifest:
    """Read all of a backup and compare it with its manifest.

    Raises BrokenBackup, which names every file that is gone or was changed.
    """
    manifest = read_manifest(backup)
    findings = []
    for name, expected in ((DATABASE, manifest.database_sha256), (FILES, manifest.list_sha256)):
        if (wrong := _wrong(backup / name, expected)) is not None:
            findings.append(f"{backup / name}: {wrong}")
    if findings:  # a list that cannot be trusted says nothing about files
        raise BrokenBackup("\n".join(findings))
    done = broken = 0
    for one in listed(backup):
        if one.absent:
            continue
        wrong = _wrong(backup / DATA / one.path, one.sha256)
        if wrong is not None:
            broken += 1
            if broken <= NAMED:
                findings.append(f"{backup / DATA / one.path}: {wrong}")
        done += one.size
        progress("verifying", done, manifest.size)
    if broken > NAMED:
        findings.append(f"and {broken - NAMED} more files")
    if findings:
        raise BrokenBackup("\n".join(findings))
    return manifest


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong(path: Path, expected: str) -> str | None:
    try:
        return None if digest(path) == expected else "does not match its digest: it was changed or is damaged"
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {(error.strerror or 'input/output error').lower()}"
