"""Versions of the table that a database keeps: the files of one, the difference of two.

Enter: a connection, and as much of a version as tells it from the others. Leave: names and texts, or the
lines of a unified difference.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import Connection

from engine.errors import PonsError
from engine.store import table_versions
from engine.table_change import the_version


class KeptVersion(NamedTuple):
    """A version with its files."""

    version: str
    main: str  # name of the table's file
    files: Mapping[str, str]  # path below its folder -> text

    @property
    def names(self) -> list[str]:
        """The names of its files, the table's own first."""
        return [self.main, *sorted(self.files.keys() - {self.main})]


def kept_version(connection: Connection, named: str | None) -> KeptVersion:
    """A version by its name; the running one when none is named.

    Raises:
        PonsError: no table has run here yet, no version is named so, or several are.
    """
    if named is None:
        running = table_versions.active(connection)
        if running is None:
            raise PonsError("no table has run here yet")
        found = running.version
    else:
        found = the_version(connection, named)
    return KeptVersion(found, *table_versions.files_of(connection, found))


def difference_in_lines(before: KeptVersion, after: KeptVersion) -> Iterator[str]:
    """The difference line by line, the table's own file first (POSIX diff -u)."""
    included = ({*before.files} - {before.main}) | ({*after.files} - {after.main})
    for was, now in [(before.main, after.main), *((name, name) for name in sorted(included))]:
        sides = (before.files.get(was, "").splitlines(), after.files.get(now, "").splitlines())
        labels = (f"{was} {before.version}", f"{now} {after.version}")
        yield from difflib.unified_diff(*sides, *labels, lineterm="")
