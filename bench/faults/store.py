"""What the store holds when everything has ended: read from its tables and its files, changing nothing.

Enter: the address of the database and the data folder. Leave: what is under way, in words; and which
instances are there, by the digest of the data set that is on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, Table, func, select

from bench.faults.judge import Kept
from bench.faults.studies import data_set_digest
from engine.errors import DatabaseUnavailable
from engine.store.database import open_database
from engine.store.tables import deliveries, holds, instances, jobs, lanes, revisions, studies

T = TypeVar("T")

UNDER_WAY: Mapping[
    Table, tuple[str, ...]
] = {  # table: its states in which somebody still has something to do
    deliveries: ("queued", "waiting"),
    jobs: ("queued", "running"),
    studies: ("receiving",),
    revisions: ("closed",),
}
GIVEN_UP: Mapping[Table, tuple[str, ...]] = {deliveries: ("dead",), jobs: ("failed",)}


class Store:
    """One engine's records."""

    def __init__(self, url: URL, data: Path) -> None:
        self._url, self._data = url, data

    def under_way(self) -> list[str]:
        """What is still to be done; empty when all is settled. One line when the database is away."""
        try:
            return self._ask(lambda c: _count(c, UNDER_WAY))
        except DatabaseUnavailable:
            return ["the database is away"]

    def kept(self) -> Kept:
        """What there is, once no engine runs any more."""
        intact = dict(self._ask(self._instances))
        unfinished = self._ask(
            lambda c: [*_count(c, UNDER_WAY), *_count(c, GIVEN_UP), *_held(c), *_leased(c)]
        )
        landing = [path.name for path in (self._data / "landing").rglob("*") if path.is_file()]
        landing = [name for name in landing if not name.endswith(".lock") and name != "lock"]
        unfinished += [f"{len(landing)} files were left in the landing"] if landing else []
        return Kept(intact, unfinished)

    def _ask(self, question: Callable[[Connection], list[T]]) -> list[T]:
        database = open_database(self._url)
        try:
            return database.read_now(question)
        finally:
            database.close()

    def _instances(self, connection: Connection) -> list[tuple[str, str]]:
        found = []
        for row in connection.execute(select(instances.c.sop_instance_uid, instances.c.path)):
            path = self._data / "instances" / row.path
            if path.is_file():
                found.append((row.sop_instance_uid, data_set_digest(path.read_bytes())))
        return found


def _count(connection: Connection, states: Mapping[Table, tuple[str, ...]]) -> list[str]:
    found = []
    for table, names in states.items():
        rows = connection.execute(
            select(table.c.state, func.count()).where(table.c.state.in_(names)).group_by(table.c.state)
        )
        found += [f"{count} {table.name} are {state}" for state, count in rows]
    return found


def _held(connection: Connection) -> list[str]:
    rows = connection.execute(select(holds.c.reason).where(holds.c.released_at.is_(None)))
    return [f"a study is held: {row.reason}" for row in rows]


def _leased(connection: Connection) -> list[str]:
    rows = connection.execute(
        select(lanes.c.destination, func.count())
        .where((lanes.c.pending > 0) | lanes.c.owner.is_not(None))
        .group_by(lanes.c.destination)
    )
    return [f"{count} lanes of {name} are leased or wait" for name, count in rows]
