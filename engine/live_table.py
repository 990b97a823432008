"""The table of a running engine: follows the active version, and reads its file again when told to.

Enter: changes of the active version, polled, and SIGHUP. Leave: an engine that decides by another table from
one moment to the next, or goes on as it was and says why: in the log, in its metrics, and in its row among
the engines, where whoever applied the table looks. Nothing is ever taken in part.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.clock import Clock
from engine.config import examine
from engine.errors import ConfigurationError, DatabaseUnavailable
from engine.finding import Finding
from engine.first_table import read_kept, record
from engine.plan import needs_restart
from engine.start import tell_of_stranded
from engine.store import table_versions
from engine.store.database import Database
from engine.store.table_versions import ActiveTable
from engine.table import Table
from engine.table_in_force import write_note
from engine.table_tests import run_tests

logger = logging.getLogger("pons.table")

LOOK = 1.0  # seconds between two looks at which version is active
BEAT = 5.0  # seconds between two signs of life
AGAIN = (
    60.0  # seconds until a version that was refused is tried again: a port or a secret may be there by then
)
LONGEST = 4000  # characters of what is wrong with a table that other processes are told; the log has it all

Exchange = Callable[[Table], AbstractAsyncContextManager[None]]
"""Entered: another table is built and bound. Left: it is taken. Raises whatever keeps it from being taken."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A table that could not be taken, and why; ``change`` is None for a file read at SIGHUP."""

    version: str
    trouble: str
    change: int | None
    again_at: float


class LiveTable:
    """Keeps one engine on the active version."""

    def __init__(
        self, given: Table, running: Table, database: Database, clock: Clock, data: Path, node: str
    ) -> None:
        """
        Args:
            given: the table as read from the file that the engine was started with.
            running: the table that it runs.
        """
        self.running = running
        self.changes = 0
        """How many tables were taken since this process began."""
        self._file = given.path
        self._given = given.version  # of that file when it was read last
        self._base = given.base
        self._database = database
        self._clock = clock
        self._data = data
        self._node = node
        self._refusal: _Refusal | None = None
        self._passed_over = 0  # the change that was another engine's affair
        self._told_to_reload = asyncio.Event()
        self._started_at = clock.now()
        self._beat_at = 0.0

    @property
    def file(self) -> Path:
        """The table that the engine was given."""
        return self._file

    def reload(self) -> None:
        """Read the file again, soon; what is wrong with it is logged and changes nothing."""
        self._told_to_reload.set()

    @contextlib.asynccontextmanager
    async def following(self, exchange: Exchange) -> AsyncIterator[None]:
        """The engine is among the living from now on (until `leave`), and follows the active version."""
        await self._beat()
        await self._write_note()
        loop = asyncio.create_task(self._run(exchange))
        try:
            yield
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)

    async def leave(self) -> None:
        """The engine has stopped: what was under way has ended."""
        with contextlib.suppress(DatabaseUnavailable):  # others will miss its beat
            await self._database.write(lambda c: table_versions.leave(c, self._node))

    async def _run(self, exchange: Exchange) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._told_to_reload.wait()
            try:
                await self.look(exchange)
            except DatabaseUnavailable:
                continue  # as `engine.store.watch` says; the table that runs goes on
            except Exception:  # the engine goes on by the table it has
                logger.exception("looking for another table failed; trying again")

    async def look(self, exchange: Exchange) -> None:
        """Take what is to be taken now, and beat."""
        if self._told_to_reload.is_set():
            self._told_to_reload.clear()
            await self._reload(exchange)
        active = await self._database.read(table_versions.active)
        if active is not None and self._is_news(active):
            await self._follow(active, exchange)
        if abs(self._clock.now() - self._beat_at) >= BEAT:
            await self._beat()

    def _is_news(self, active: ActiveTable) -> bool:
        if active.version == self.running.version:
            if self._refusal is not None and self._refusal.change is not None:
                self._refusal, self._beat_at = None, 0.0  # it was taken back
            return False
        if active.change_id == self._passed_over:
            return False
        refusal = self._refusal
        refused = refusal is not None and refusal.change == active.change_id
        return not refused or self._clock.now() >= (refusal.again_at if refusal else 0.0)

    async def _follow(self, active: ActiveTable, exchange: Exchange) -> None:
        kept = await self._database.read(lambda c: table_versions.files_of(c, active.version))
        read = partial(read_kept, active.version, *kept, self._data, self._base)
        try:
            table = await asyncio.to_thread(read)
            if active.action == "started" and needs_restart(self.running, table):
                self._passed_over = active.change_id
                what = "another engine was started with a table of its own; this one keeps its own"
                logger.info(what, extra={"pons": {"table": active.version, "before": self.running.version}})
                return
            async with exchange(table):
                pass
        except DatabaseUnavailable:
            raise
        except Exception as error:  # whatever keeps a part from being built keeps the whole table out
            await self._refused(active.version, error, active.change_id)
        else:
            await self._taken(table)

    async def _reload(self, exchange: Exchange) -> None:
        """The file as it is now, checked and tested; active for every engine at the moment we can take it."""
        table, findings = await asyncio.to_thread(examine, self._file)
        try:
            if table is None:
                raise ConfigurationError(_told(findings, self._file.parent))
            failed = await asyncio.to_thread(_failed_tests, table)
            if failed:
                raise ConfigurationError("\n".join(failed))
            if table.version == self.running.version:
                self._refusal, self._beat_at, self._given = None, 0.0, table.version
                await self._write_note()
                logger.info("table unchanged", extra={"pons": {"table": table.version}})
                return
            async with exchange(table):
                now, actor = self._clock.now(), f"engine {self._node}"
                await self._database.write(
                    partial(record, table=table, now=now, actor=actor, action="reloaded")
                )
        except DatabaseUnavailable as error:
            await self._refused("", ConfigurationError(f"the database is away: {error}"), None)
        except Exception as error:
            await self._refused(table.version if table else "", error, None)
        else:
            self._given = table.version
            await self._taken(table)

    async def _taken(self, table: Table) -> None:
        facts = {"before": self.running.version, "table": table.version}
        self.running, self._refusal = table, None
        self.changes += 1
        logger.info("table taken", extra={"pons": facts})
        await self._write_note()
        await self._beat()
        await tell_of_stranded(self._database, table)

    async def _refused(self, version: str, error: Exception, change: int | None) -> None:
        before, trouble = self._refusal, _trouble(error)
        self._refusal = _Refusal(version, trouble, change, self._clock.now() + AGAIN)
        if before is not None and change is not None and (before.change, before.trouble) == (change, trouble):
            return  # tried again, and the same as before
        if not isinstance(error, ConfigurationError | OSError):
            logger.error("a table could not be taken", exc_info=error)
        for line in trouble.splitlines():
            logger.error(
                "table refused; the one before goes on", extra={"pons": {"table": version, "reason": line}}
            )
        await self._beat()

    async def _write_note(self) -> None:
        """For who cannot ask the database; without it, the tunnels follow the file alone."""
        write = partial(write_note, self._data, given=self._given, running=self.running)
        try:
            await asyncio.to_thread(write)
        except OSError as error:
            what = "which table runs could not be noted; the tunnels follow the file"
            logger.warning(what, extra={"pons": {"reason": error.strerror}})

    async def _beat(self) -> None:
        now, refusal = self._clock.now(), self._refusal
        version, trouble = (refusal.version, refusal.trouble[:LONGEST]) if refusal else ("", "")
        self._beat_at = now
        await self._database.write(
            lambda c: table_versions.beat(
                c, self._node, self._started_at, now, self.running.version, version, trouble
            )
        )

    def measured(self) -> dict[str, float]:
        """Samples for `/metrics`."""
        return {
            f'pons_table_info{{version="{self.running.version}"}}': 1.0,
            "pons_table_changes_total": float(self.changes),
            "pons_table_refused": float(self._refusal is not None),
        }


def _trouble(error: Exception) -> str:
    """Why a table was not taken, for people; what a defect says of itself stays out."""
    if isinstance(error, ConfigurationError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"it could not be laid out or opened: {error.strerror.lower()}"
    return f"unexpected {type(error).__name__}"


def _told(findings: list[Finding], folder: Path) -> str:
    return "\n".join(str(one.under(folder)) for one in findings if one.severity == "error")


def _failed_tests(table: Table) -> list[str]:
    failed = [verdict.test for verdict in run_tests(table) if not verdict.passed]
    return [f"{one.position}: test {one.name!r} fails; `pons test` says why" for one in failed]
