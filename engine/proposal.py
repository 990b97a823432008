"""One table proposed in the place of the running one, and everything to know before that is done.

Enter: where the engine is, its database, the files of a new table as a person gives them or as the database
keeps them. Leave: findings and tests of the new table, the difference, what it would do with the studies that
came last, what is under way and would notice, and what speaks against it.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.clock import SteadyClock
from engine.config import examine_written, settings_of
from engine.errors import PonsError
from engine.finding import Finding
from engine.kept_table import lay_out
from engine.plan import Difference, Written, difference, needs_restart
from engine.plan_effect import Effect, effects
from engine.plan_in_flight import Stop, Touched, touched
from engine.sections import EngineSettings
from engine.store import table_versions
from engine.store.clock_set_back import database_time
from engine.store.database import Database, exists, locate, open_database
from engine.store.migrate import revisions, schema_of
from engine.store.table_versions import ActiveTable
from engine.store.under_way import under_way
from engine.table import Table
from engine.table_tests import Verdict, run_tests

NOTHING = Written(None, {})
NO_DIFFERENCE = Difference(())


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engine is: the file that `pons run` is given, and what that says of its machine."""

    table: Path
    base: Path  # the folder that relative paths start from, whatever version runs
    engine: EngineSettings


@dataclass(frozen=True, slots=True)
class Proposal:
    """A new table beside the running one."""

    place: Place
    running: ActiveTable | None  # None: no engine has run here yet
    before: Written
    after: Written
    findings: tuple[Finding, ...]
    verdicts: tuple[Verdict, ...] = ()
    found: Difference = NO_DIFFERENCE
    restart: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    touched: tuple[Touched, ...] = ()

    @property
    def table(self) -> Table | None:
        """The new table; None when it has errors."""
        return self.after.table

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """Its tests that fail."""
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)

    @property
    def is_running(self) -> bool:
        """Whether it is the running one already, byte by byte."""
        return (
            self.table is not None and self.running is not None and self.table.version == self.running.version
        )

    def objections(self, *, force: bool) -> list[str]:
        """Why it must not be applied; with ``force`` only what no force makes right."""
        if self.table is None:
            return ["the table has errors"]
        found = [
            f"{name} needs a restart: give it to `pons run`, not to a running engine" for name in self.restart
        ]
        found += [_against(one) for one in self.touched if one.stop is Stop.ASTRAY]
        if not force:
            if self.failed:
                count = f"{len(self.failed)} of {len(self.verdicts)}"
                found.append(f"{count} tests of the table fail (--force applies it all the same)")
            stranding = [one for one in self.touched if one.stop is Stop.STRANDS]
            found += [f"{_against(one)} (--force does it all the same)" for one in stranding]
        return found


def _against(one: Touched) -> str:
    return f"{one.section} {one.name} has {one.counted}: {one.becomes}"


def place_of(table: Path) -> Place:
    """Where the engine of a table is, even when that file is broken elsewhere.

    Raises:
        ConfigurationError: it says nothing of the engine that can be read.
    """
    return Place(table, table.resolve().parent, settings_of(table))


@contextlib.contextmanager
def database_of(place: Place) -> Iterator[Database | None]:
    """The engine's database; None where there is none yet.

    Raises:
        PonsError: an engine of an earlier release wrote it.
    """
    url = locate(place.engine)
    if not exists(url):
        yield None
        return
    database = open_database(url)
    try:
        schema = database.read_now(schema_of)
        if schema != revisions()[-1]:
            raise PonsError("the database is not of this release; start its engine once, then try again")
        yield database
    finally:
        database.close()


def propose(
    place: Place, database: Database | None, new: Path, studies: int, *, named: Path | None = None
) -> Proposal:
    """Work out everything about a table before it is applied; nothing is changed.

    Args:
        new: the file of the new table; what it names by relative paths is looked for from the running one.
        studies: how many of the studies that came last are decided by both tables.
        named: what people call the folder of the new table; findings are told below it.
    """
    running = database.read_now(table_versions.active) if database else None
    table, findings, data = examine_written(new, base=place.base)
    if named is not None:
        findings = [finding.under(named) for finding in findings]
    if table is None:
        return Proposal(place, running, NOTHING, NOTHING, tuple(findings))
    after = Written(table, data)
    verdicts = run_tests(table)
    with _running(place, database, running, new) as before:
        found = difference(before, after)
        restart = needs_restart(before.table, table) if before.table else []
        would: tuple[Effect, ...] = ()
        notice: tuple[Touched, ...] = ()
        if database is not None:
            notice = tuple(touched(found, table, database.read_now(under_way)))
            if before.table is not None and any(one.section != "tests" for one in found.changes):
                folder = place.engine.data / "instances"
                would = tuple(effects(database, before.table, table, studies, lambda name: folder / name))
    return Proposal(
        place, running, before, after, tuple(findings), verdicts, found, tuple(restart), would, notice
    )


def time_of(database: Database) -> float:
    """Now, as the engines on this database count it: by its clock where they share it."""
    return database.read_now(database_time) if database.shared else SteadyClock().now()


@contextlib.contextmanager
def kept(database: Database, version: str) -> Iterator[Path]:
    """A version that the database keeps, as files while entered; the path of its table."""
    main, files = database.read_now(lambda c: table_versions.files_of(c, version))
    with tempfile.TemporaryDirectory(prefix="pons-") as folder:
        yield lay_out(Path(folder) / "table", main, files)


@contextlib.contextmanager
def _running(
    place: Place, database: Database | None, running: ActiveTable | None, new: Path
) -> Iterator[Written]:
    """The running table: the active version, else the file that an engine would be given."""
    if database is not None and running is not None:
        with kept(database, running.version) as path:
            yield _written(path, place.base)
    elif place.table.exists() and not place.table.samefile(new):
        yield _written(place.table, place.base)
    else:
        yield NOTHING


def _written(path: Path, base: Path) -> Written:
    table, _, data = examine_written(path, base=base, surroundings=False)
    return Written(table, data)
