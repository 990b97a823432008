"""Destinations at real sockets, and an engine's way out to them with deliveries whose bytes are made already.

The peers speak MLLP, as little of it as is needed: what is under test is not the protocol but who is
asked, when, and how often.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from sqlalchemy import Connection, insert, select, update

from engine import config
from engine.channel import OutboundContext
from engine.clock import Clock
from engine.decide import Decider
from engine.dispatch import Destination, Dispatch
from engine.spool import Spool
from engine.store import destinations, lanes
from engine.store.database import Database
from engine.store.tables import attempts, deliveries, studies
from tests.engine.store.rows import study_row

BREAKER = {"failures": 3, "open_for": "30s", "cap": "300s"}


class Peer:
    """A receiver in this loop: `mood` is an acknowledgement code, or close, or silent."""

    def __init__(self, mood: str = "AA", moods: Mapping[str, str] | None = None) -> None:
        self.mood = mood
        self.moods = dict(moods or {})  # by message, instead of `mood`
        self.received: list[str] = []
        self.port = 0
        self.delay = 0.0
        self.gate = asyncio.Event()  # nothing is answered while it is not set
        self.gate.set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> Peer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            block = await reader.readuntil(b"\x1c\r")
            number = block.decode().split("|")[9].split("\r")[0]
            self.received.append(number)
            mood = self.moods.get(number, self.mood)
            if mood == "silent":
                await reader.read()  # until the other side gives up
            elif mood != "close":
                await asyncio.sleep(self.delay)
                await self.gate.wait()
                writer.write(f"\x0bMSH|^~\\&|R|R|P|P|||ACK|1|P|2.5\rMSA|{mood}|{number}\r\x1c\r".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


@contextlib.contextmanager
def dead_port() -> Iterator[int]:
    """A port that refuses, and that nobody else gets meanwhile."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@contextlib.asynccontextmanager
async def peers(*made: Peer) -> AsyncIterator[None]:
    """Several receivers, up while entered."""
    for one in made:
        await one.start()
    try:
        yield
    finally:
        for one in made:
            await one.stop()


class Post:
    """A way out: queue deliveries, run the dispatch, see what became of them."""

    def __init__(
        self, folder: Path, database: Database, clock: Clock, ports: Mapping[str, int], **blocks: Any
    ) -> None:
        self.database, self.clock, self.folder = database, clock, folder
        common: dict[str, Any] = {
            "type": "hl7_oru", "site": "s", "host": "127.0.0.1", "timeout": "20s", "breaker": BREAKER,
            "retry": {"first": "5s", "cap": "900s", "give_up_after": "72h"},
        }  # fmt: skip
        outbound = {name: {**common, "port": port, **blocks.get(name, {})} for name, port in ports.items()}
        for name, block in blocks.items():
            outbound.setdefault(name, block)
        document = {
            "version": 1,
            "engine": {"data": "./data"},
            "sites": {"s": {"name": "S", "addresses": ["127.0.0.1"], "timezone": "Europe/Zurich"}},
            "outbound": outbound,
        }
        (folder / "routes.yaml").write_text(yaml.safe_dump(document))
        self.table = config.load(folder / "routes.yaml")
        self.data = folder / "data"
        spool = Spool(self.data, max_instance=1_000_000, min_free=0)
        self.decider = Decider(database, spool, clock, self.table, lambda: None)
        site = self.table.sites["s"]
        self.destinations = {
            name: Destination(
                d, d.type.build(d.settings, OutboundContext(name, site)), ZoneInfo(site.timezone)
            )
            for name, d in self.table.outbound.items()
        }
        (self.data / "payloads").mkdir(exist_ok=True)
        database.write_now(lambda c: c.execute(insert(studies).values(study_row())))

    def queue(
        self, destination: str, *names: str, media_type: str = "application/hl7-v2", **columns: Any
    ) -> None:
        """One delivery a name, each in its own lane, its bytes made."""
        self.database.write_now(
            lambda c: [self._queue(c, destination, one, media_type, **columns) for one in names]
        )

    def _queue(self, connection: Any, destination: str, name: str, media_type: str, **columns: Any) -> None:
        path = self.data / "payloads" / f"{name}.part"
        path.write_text(f"MSH|^~\\&|P|P|R|R|20260102||ORU^R01^ORU_R01|{name}|P|2.5.1\r")
        part = {"identifier": name, "media_type": media_type, "path": f"payloads/{name}.part", "facts": {}}
        lanes.enqueue(
            connection, self.clock.now(), delivery_id=name, destination=destination, order_key=name,
            lineage=name, study_id=1, study_revision=1, result_id=None, status="study", transform=[],
            after=[], payload=[part], **columns,
        )  # fmt: skip

    def queue_many(self, destination: str, word: str, count: int) -> None:
        """Thousands of deliveries, each in its own lane, as rows in bulk; they share their bytes."""
        now = self.clock.now()
        self.queue(destination, word)
        names = [f"{word}-{number}" for number in range(count - 1)]

        def insert_all(connection: Connection) -> None:
            first = connection.execute(select(deliveries).where(deliveries.c.delivery_id == word)).one()
            same = {key: value for key, value in first._mapping.items() if key != "seq"}
            connection.execute(
                insert(deliveries),
                [same | {"delivery_id": name, "order_key": name, "lineage": name} for name in names],
            )
            lane = {"destination": destination, "pending": 1, "due_at": now, "fence": 0}
            connection.execute(insert(lanes.lanes), [lane | {"order_key": name} for name in names])

        self.database.write_now(insert_all)

    def dispatch(
        self, database: Database | None = None, *, node: str = "n1", lease: float = 60.0
    ) -> Dispatch:
        return Dispatch(
            database or self.database, self.clock, self.decider, self.destinations,
            data=self.data, node=node, lease=lease,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Dispatch]:
        """A dispatch, up while entered."""
        dispatch = self.dispatch(**options)
        task = asyncio.create_task(dispatch.run())
        try:
            yield dispatch
        finally:
            dispatch.drain()
            await asyncio.wait([task], timeout=10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def states(self, destination: str) -> dict[str, str]:
        query = select(deliveries.c.delivery_id, deliveries.c.state).where(
            deliveries.c.destination == destination
        )
        return {
            row.delivery_id: row.state for row in self.database.read_now(lambda c: c.execute(query).all())
        }

    def attempts(self, destination: str) -> list[Any]:
        query = (
            select(attempts, deliveries.c.destination)
            .join(deliveries, deliveries.c.delivery_id == attempts.c.delivery_id)
            .where(deliveries.c.destination == destination)
            .order_by(attempts.c.started_at, attempts.c.delivery_id)
        )
        return list(self.database.read_now(lambda c: c.execute(query).all()))

    def standing(self, destination: str) -> destinations.Standing:
        return self.database.read_now(lambda c: destinations.standing(c, destination))

    def lane(self, name: str) -> Any:
        query = select(lanes.lanes).where(lanes.lanes.c.order_key == name)
        return self.database.read_now(lambda c: c.execute(query).one())

    def make_due(self, name: str) -> None:
        """As if its backoff were over."""
        change = update(lanes.lanes).where(lanes.lanes.c.order_key == name).values(due_at=self.clock.now())
        self.database.write_now(lambda c: c.execute(change))


async def until(condition: Any, what: str, within: float = 60.0) -> Any:
    """Wait, beside the dispatch in this loop, until a condition of the database or of a peer holds."""
    deadline = asyncio.get_running_loop().time() + within
    while not (value := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.005)
    return value
