"""Load a routing table, or say everything that is wrong with it.

Enters: the path of a table. Leaves: a `Table` that the engine can run, or findings with line and
column, all at once. What `load` accepts starts; what would not start, `load` refuses.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.catalog import Catalog
from engine.check import check
from engine.defaults import told_once
from engine.directory import Directory
from engine.document import read
from engine.errors import ConfigurationError
from engine.expected import read_tests
from engine.finding import Finding
from engine.reading import Reading, read_engine, read_sections
from engine.sections import Assembly, EngineSettings
from engine.table import Declared, Table, TableTest

__all__ = [
    "Assembly",
    "Declared",
    "Directory",
    "EngineSettings",
    "Finding",
    "Table",
    "TableTest",
    "examine",
    "examine_written",
    "load",
    "settings_of",
]


def load(path: Path, *, base: Path | None = None, surroundings: bool = True) -> Table:
    """The table at a path.

    Args:
        path: the table's file.
        base: the folder that relative paths in it start from; its own when absent.
        surroundings: also demand what this machine must have to run it: secrets, files, commands.

    Raises:
        ConfigurationError: lists every finding, one a line.
    """
    table, findings = examine(path, base=base, surroundings=surroundings)
    if table is None:
        raise ConfigurationError("\n".join(str(finding.under(path.parent)) for finding in findings))
    return table


def examine(
    path: Path, *, base: Path | None = None, surroundings: bool = True
) -> tuple[Table | None, list[Finding]]:
    """The table, unless there is an error among the findings; never raises on bad input."""
    return examine_written(path, base=base, surroundings=surroundings)[:2]


def examine_written(
    path: Path, *, base: Path | None = None, surroundings: bool = True
) -> tuple[Table | None, list[Finding], Mapping[str, Any]]:
    """The same, with all files of the table as one mapping of plain data."""
    with _without_collector():
        return _examine(path, base, surroundings)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """A large table is millions of objects, none of them garbage; collecting took half of the time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def _examine(
    path: Path, base: Path | None, surroundings: bool
) -> tuple[Table | None, list[Finding], Mapping[str, Any]]:
    try:
        document = read(path, base)
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        return None, [Finding(path.name, 1, 1, "", f"cannot be read: {reason}", code="unreadable")], {}
    reading = read_sections(document, Catalog())
    check(reading, surroundings=surroundings)
    tests = read_tests(reading)
    told = told_once(document, reading.findings)
    findings = sorted(told, key=lambda one: (_order(one, path), one.line, one.column))
    if any(finding.severity == "error" for finding in findings):
        return None, findings, document.data
    return _table(path, reading, tests), findings, document.data


def settings_of(path: Path, base: Path | None = None) -> EngineSettings:
    """The `engine:` section of a table that may be wrong elsewhere: enough to find its database.

    Raises:
        ConfigurationError: the file cannot be read, or that section has findings.
    """
    try:
        document = read(path, base)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {(error.strerror or 'unknown').lower()}") from None
    reading = read_engine(document)
    if reading.findings:
        raise ConfigurationError("\n".join(str(finding.under(path.parent)) for finding in reading.findings))
    return reading.engine


def _order(finding: Finding, path: Path) -> tuple[bool, str]:
    return finding.file != path.name, finding.file


def _table(path: Path, reading: Reading, tests: tuple[TableTest, ...]) -> Table:
    return Table(
        path=path,
        base=reading.document.base,
        version=reading.document.version,
        files=reading.document.files,
        engine=reading.engine,
        assembly=reading.assembly,
        retention=reading.retention,
        tunnel=reading.tunnel,
        sites=reading.sites,
        inbound=reading.inbound,
        processors=reading.processors,
        outbound=reading.outbound,
        routes=tuple(reading.routes[index] for index in sorted(reading.routes)),
        tests=tests,
        oauth=reading.oauth,
        people=reading.people,
        orders=reading.orders,
    )
