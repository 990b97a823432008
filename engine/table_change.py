"""Another version of the table is made the running one, and the engines take it or say why not.

Enter: a proposal that nobody objects to. Leave: one transaction with the version, the change and its audit
event, refused when somebody else was faster; then, engine by engine, who runs what.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from engine.active_table import activate
from engine.clock import at
from engine.errors import PonsError
from engine.proposal import Proposal, time_of
from engine.store import table_versions
from engine.store.database import Database
from engine.store.table_versions import engines_alive

APPLIED, ROLLED_BACK = "applied", "rolled back"
LOOK = 0.2  # seconds between two looks at what the engines say
SILENT_FOR = 20.0  # seconds without a word after which an engine counts as gone; they speak every five


class Overtaken(PonsError):
    """Another change was made after the proposal was shown."""


def make_active(connection: Connection, proposal: Proposal, order: Order, now: float, *, forced: bool) -> int:
    """Record the proposed table and make it the running one, inside the caller's transaction.

    Raises:
        Overtaken: the running table is not the one that the proposal was compared with.
    """
    table, running = proposal.table, proposal.running
    assert table is not None
    if not table_versions.unmoved(connection, running.change_id if running else None):
        latest = table_versions.active(connection)
        assert latest is not None
        raise Overtaken(
            f"{latest.actor} made {latest.version} the running table at {at(latest.at):%H:%M:%S} UTC, after"
            " this plan was made; nothing was changed, plan again"
        )
    table_versions.record_version(connection, table.version, table.path.name, table.files, now)
    return activate(
        connection,
        table.version,
        now,
        actor=order.actor,
        action=order.action,
        message=order.message,
        forced=forced,
    )


def go_back(
    connection: Connection, version: str, change_id: int, now: float, *, actor: str, message: str
) -> bool:
    """Take a change back that was just made; False, and nothing done, when another came after it."""
    if not table_versions.unmoved(connection, change_id):
        return False
    activate(connection, version, now, actor=actor, action=ROLLED_BACK, message=message)
    return True


def version_before(connection: Connection, named: str | None) -> str:
    """The version that a rollback goes to: the named one, else the one that ran before the active one.

    Args:
        named: as much of its name as tells it from the others.

    Raises:
        PonsError: there is none, or several are named so.
    """
    running = table_versions.active(connection)
    if running is None:
        raise PonsError("no table has run here yet; there is nothing to go back to")
    if named is None:
        changes = table_versions.history(connection, 1000)
        before = next((one.version for one in changes if one.version != running.version), None)
        if before is None:
            raise PonsError("no other table has run here; there is nothing to go back to")
        return before
    return the_version(connection, named)


def the_version(connection: Connection, named: str) -> str:
    """The one version that is named so; PonsError when there is none, or there are several."""
    found = table_versions.versions_like(connection, named)
    if len(found) != 1:
        many = f"{len(found)} versions begin" if found else "no version begins"
        raise PonsError(f"{many} with {named}; `pons history` lists them")
    return found[0]


@dataclass(frozen=True, slots=True)
class Takers:
    """The engines that live (rows of `engines`), by what they say of a version."""

    taken: tuple[Any, ...] = ()
    refused: tuple[Any, ...] = ()
    pending: tuple[Any, ...] = ()

    @property
    def all_took_it(self) -> bool:
        """Whether none refused it, and none is still to say; so too when none lives."""
        return not self.refused and not self.pending


def takers(rows: Sequence[Any], version: str) -> Takers:
    """Sort engines by what they say of a version."""
    taken = tuple(row for row in rows if row.table_version == version)
    others = [row for row in rows if row.table_version != version]
    refused = tuple(row for row in others if row.refused_version == version)
    return Takers(taken, refused, tuple(row for row in others if row not in refused))


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants done with a proposal."""

    actor: str
    action: str  # APPLIED or ROLLED_BACK
    message: str = ""
    force: bool = False
    within: float = 30.0  # seconds that the engines have; 0 waits for none
    auto_rollback: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it."""

    change: int | None  # None: it was the running table already
    takers: Takers
    back: str = ""  # the version that is the running one again

    @property
    def is_well(self) -> bool:
        """Whether every engine that was waited for took it."""
        return self.takers.all_took_it and not self.back


def carry_out(database: Database, proposal: Proposal, order: Order) -> Applied:
    """Make a proposal that nobody objects to the running table, and wait for the engines; blocks.

    Raises:
        Overtaken: somebody else was faster; nothing was changed.
    """
    table, running = proposal.table, proposal.running
    assert table is not None
    change = None
    if not proposal.is_running:
        now, forced = time_of(database), bool(order.force and proposal.objections(force=False))
        change = database.write_now(lambda c: make_active(c, proposal, order, now, forced=forced))
    if order.within == 0:
        return Applied(change, Takers())
    found = _waited(database, table.version, order.within)
    if change is None or found.all_took_it or not order.auto_rollback or running is None:
        return Applied(change, found)
    now, why = time_of(database), f"not every engine took {table.version}"
    done = database.write_now(
        lambda c: go_back(c, running.version, change, now, actor=order.actor, message=why)
    )
    return Applied(change, found, running.version if done else "")


def _waited(database: Database, version: str, within: float) -> Takers:
    """What the engines that live say of a version, when all have said it or the time (seconds) is over."""
    deadline = time.monotonic() + within
    while True:
        since = time_of(database) - SILENT_FOR
        found = takers(database.read_now(partial(engines_alive, since=since)), version)
        if not found.pending or time.monotonic() >= deadline:
            return found
        time.sleep(LOOK)
