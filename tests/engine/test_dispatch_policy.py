"""Who is asked, when and how often: destinations that are down, slow, flapping, paused, closed or paced."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, event, select

from engine.breaker import CLOSED, OPEN
from engine.clock import SteadyClock
from engine.errors import DatabaseUnavailable
from engine.pause import pause, resume
from engine.store.database import Database, SqliteDatabase
from engine.store.tables import audit_events
from tests.engine.conftest import HandClock
from tests.engine.post_house import Peer, Post, dead_port, peers, until

T = TypeVar("T")


def names(word: str, count: int) -> list[str]:
    return [f"{word}-{number:04}" for number in range(count)]


async def test_down_it_is_probed_and_when_it_is_back_all_goes_at_once(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    with dead_port() as port:
        post = Post(tmp_path, database, clock, {"ris": port}, ris={"concurrency": 2})
        post.queue("ris", *names("m", 12))
        async with post.running() as dispatch:
            await until(lambda: post.standing("ris").circuit.state == OPEN, "the circuit to open")
            await until(lambda: all(one.ended_at for one in post.attempts("ris")), "what was under way")
            tried = len(post.attempts("ris"))
            assert 3 <= tried <= 4, "those under way when it opened, and no more"
            clock.advance(31)
            dispatch.wake()
            await until(lambda: post.standing("ris").circuit.openings == 2, "a probe that fails")
            assert len(post.attempts("ris")) == tried + 1
    peer = await Peer().start(port)
    async with post.running():  # another process: it finds the circuit as it was left
        assert len(post.attempts("ris")) == tried + 1
        clock.advance(61)
        await until(lambda: set(post.states("ris").values()) == {"delivered"}, "all of them")
    await peer.stop()

    assert sorted(peer.received) == names("m", 12)
    assert post.standing("ris").circuit.state == CLOSED
    assert {one.started_at for one in post.attempts("ris") if one.outcome == "delivered"} == {clock.now()}


async def test_a_message_that_the_peer_cannot_process_opens_nothing(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    bad = names("bad", 6)
    async with peers(peer := Peer(moods=dict.fromkeys(bad, "AE"))):
        post = Post(tmp_path, database, clock, {"ris": peer.port}, ris={"concurrency": 1})
        post.queue("ris", *bad, *names("good", 6))
        async with post.running():
            await until(lambda: list(post.states("ris").values()).count("delivered") == 6, "the good ones")

    assert {name for name, state in post.states("ris").items() if state == "queued"} == set(bad)
    assert post.standing("ris").circuit.failures == 0


async def test_messages_that_nobody_answers_do_not_starve_the_others(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    bad = names("bad", 3)
    async with peers(peer := Peer(moods=dict.fromkeys(bad, "silent"))):
        settings = {"concurrency": 1, "timeout": "200ms"}
        post = Post(tmp_path, database, clock, {"ris": peer.port}, ris=settings)
        post.queue("ris", *bad)
        async with post.running() as dispatch:
            await until(lambda: post.standing("ris").circuit.state == OPEN, "the circuit to open")
            clock.advance(4)  # before the silent ones are due again
            post.queue("ris", *names("good", 4))
            clock.advance(0.5)
            while "delivered" not in post.states("ris").values():
                clock.advance(post.standing("ris").circuit.probe_at - clock.now() + 0.1)
                dispatch.wake()
                probes = len(post.attempts("ris"))
                await until(lambda probes=probes: len(post.attempts("ris")) > probes, "a probe")
                await until(lambda: all(one.ended_at for one in post.attempts("ris")), "its end")
                assert probes < 12
            await until(lambda: list(post.states("ris").values()).count("delivered") == 4, "the good ones")


async def test_dead_silent_and_flapping_destinations_cost_a_healthy_one_nothing(
    tmp_path: Path, database: Database
) -> None:
    well, silent, flapping = Peer(), Peer("silent"), Peer("close")
    with dead_port() as port:
        async with peers(well, silent, flapping):
            ports = {"well": well.port, "dead": port, "silent": silent.port, "flapping": flapping.port}
            quick = {"breaker": {"failures": 3, "open_for": "200ms", "cap": "400ms"}}
            troubled = {name: {**quick, "timeout": "1s"} for name in ("dead", "silent", "flapping")}
            post = Post(tmp_path, database, SteadyClock(), ports, **troubled)
            async with post.running() as dispatch:
                alone = await _latency(post, well, dispatch.wake, "alone")
                for name in troubled:
                    post.queue(name, *names(name, 100))
                dispatch.wake()
                await until(lambda: post.standing("dead").circuit.state == OPEN, "the dead one to be known")
                beside = await _latency(post, well, dispatch.wake, "beside", flapping)
                flapping.mood = "AA"
                await until(
                    lambda: set(post.states("flapping").values()) == {"delivered"}, "the flapping one"
                )

    print(f"median latency alone {alone * 1e3:.1f} ms, beside {beside * 1e3:.1f} ms: x{beside / alone:.2f}")
    assert beside < 5 * max(alone, 0.02)
    assert len(post.attempts("dead")) < 100, "the circuit bounds them"


async def _latency(
    post: Post, peer: Peer, wake: Callable[[], None], word: str, flapping: Peer | None = None
) -> float:
    """Median seconds from queueing to the peer's having it."""
    took = []
    loop = asyncio.get_running_loop()
    for number in range(30):
        if flapping is not None:
            flapping.mood = "AA" if number % 10 == 9 else "close"
        name = f"{word}-{number}"
        await asyncio.to_thread(post.queue, "well", name)
        begun = loop.time()
        wake()
        while name not in peer.received:
            assert loop.time() - begun < 30
            await asyncio.sleep(0.001)
        took.append(loop.time() - begun)
    return statistics.median(took)


async def test_gone_for_good_it_is_paused_by_the_engine_on_record(
    tmp_path: Path, database: Database, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "whsec_" + "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=")
    answers = ["410 Gone", *["204 No Content"] * 9]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {answers.pop(0)}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    hook = {"type": "webhook", "site": "s", "url": url, "secret": {"env": "HOOK"}, "concurrency": 1}
    post = Post(tmp_path, database, clock, {}, hook=hook)
    post.queue("hook", "e-1", "e-2", media_type="application/json")
    async with post.running() as dispatch:
        standing = await until(lambda: (s := post.standing("hook")).paused_at and s, "the pause")
        assert post.states("hook") == {"e-1": "dead", "e-2": "queued"}
        assert (standing.paused_by, "410" in standing.pause_reason) == ("engine", True)
        database.write_now(lambda c: resume(c, "hook", actor="ann", reason="moved back", now=clock.now()))
        dispatch.wake()
        await until(lambda: post.states("hook")["e-2"] == "delivered", "what was queued")
    server.close()
    await server.wait_closed()

    trail = database.read_now(lambda c: c.execute(select(audit_events.c.action, audit_events.c.actor)).all())
    assert [tuple(row) for row in trail] == [("destination paused", "engine"), ("destination resumed", "ann")]


async def test_a_running_engine_sees_that_a_destination_is_paused_and_resumed(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    async with peers(one := Peer(), other := Peer()):
        post = Post(tmp_path, database, clock, {"one": one.port, "other": other.port})
        async with post.running() as dispatch:
            database.write_now(lambda c: pause(c, "one", actor="ann", reason="upgrade", now=clock.now()))
            post.queue("one", "m-1")
            post.queue("other", "m-2")
            dispatch.wake()
            await until(lambda: post.states("other")["m-2"] == "delivered", "the other one")
            assert post.attempts("one") == []
            database.write_now(lambda c: resume(c, "one", actor="ann", reason="", now=clock.now()))
            await until(lambda: post.states("one")["m-1"] == "delivered", "the resumed one", 20)


async def test_in_its_window_it_takes_nothing(tmp_path: Path, database: Database, clock: HandClock) -> None:
    clock.time = datetime(2026, 7, 1, 0, 30, tzinfo=UTC).timestamp()  # 02:30 at the site
    async with peers(closed := Peer(), other := Peer()):
        ports = {"closed": closed.port, "other": other.port}
        post = Post(tmp_path, database, clock, ports, closed={"maintenance": ["daily 02:00-03:00"]})
        post.queue("closed", "m-1")
        post.queue("other", "m-2")
        async with post.running() as dispatch:
            await until(lambda: post.states("other")["m-2"] == "delivered", "the other one")
            assert post.attempts("closed") == []
            clock.advance(30 * 60)
            dispatch.wake()
            await until(lambda: post.states("closed")["m-1"] == "delivered", "the end of the window")


async def test_no_more_begin_than_its_rate_allows(tmp_path: Path, database: Database) -> None:
    async with peers(peer := Peer()):
        post = Post(tmp_path, database, SteadyClock(), {"ris": peer.port}, ris={"rate": "20/s"})
        post.queue("ris", *names("m", 30))
        async with post.running(), post.running(node="n2"):
            await until(lambda: set(post.states("ris").values()) == {"delivered"}, "all of them")

    begun = [one.started_at for one in post.attempts("ris")]
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            assert last - first + 1 <= 20 * (begun[last] - begun[first] + 0.1) + 1.01


async def test_a_slow_answer_is_waited_for_and_nobody_else_sends_it_meanwhile(
    tmp_path: Path, database: Database
) -> None:
    async with peers(peer := Peer()):
        peer.delay = 2.0
        post = Post(tmp_path, database, SteadyClock(), {"ris": peer.port})
        post.queue("ris", "m-1")
        async with post.running(lease=0.6), post.running(node="n2", lease=0.6):
            await until(lambda: post.states("ris")["m-1"] == "delivered", "the answer")

    assert peer.received == ["m-1"]


async def test_told_to_stop_it_gives_back_what_is_under_way(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    async with peers(peer := Peer("silent")):
        post = Post(tmp_path, database, clock, {"ris": peer.port}, ris={"timeout": "1h"})
        post.queue("ris", "m-1", "m-2")
        task = asyncio.create_task(post.dispatch().run())
        await until(lambda: len(peer.received) == 2, "both to be under way")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for name in ("m-1", "m-2"):
        assert (post.lane(name).owner, post.lane(name).due_at) == (None, clock.now())
    assert {(one.outcome, one.detail) for one in post.attempts("ris")} == {
        ("unknown", "the engine stopped while it was under way")
    }


class Faulty:
    """A database that is away when it is told to be."""

    shared = False

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.engine = database.engine
        self.away = False
        self.refused = 0

    async def write(self, work: Callable[[Connection], T]) -> T:
        self._refuse()
        return await self._database.write(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        self._refuse()
        return await self._database.read(work)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        return self._database.write_now(work)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        return self._database.read_now(work)

    def close(self) -> None:
        self._database.close()

    def _refuse(self) -> None:
        if self.away:
            self.refused += 1
            raise DatabaseUnavailable("the database cannot be reached")


async def test_an_answer_is_kept_until_the_database_is_back(
    tmp_path: Path, sqlite_database: SqliteDatabase
) -> None:
    faulty = Faulty(sqlite_database)
    async with peers(peer := Peer()):
        peer.delay = 0.5
        post = Post(tmp_path, sqlite_database, SteadyClock(), {"ris": peer.port, "other": peer.port})
        post.queue("ris", "m-1")
        async with post.running(database=faulty, lease=1.0) as dispatch:
            await until(lambda: peer.received, "the message")
            faulty.away = True
            await until(lambda: faulty.refused > 5, "several tries")
            post.queue("other", "m-2")
            await asyncio.sleep(1.5)  # past the lease: the lane looks abandoned
            faulty.away = False
            dispatch.wake()
            await until(lambda: post.states("ris")["m-1"] == "delivered", "the answer on record")
            await until(lambda: post.states("other")["m-2"] == "delivered", "the loop to go on")

    assert sorted(peer.received) == ["m-1", "m-2"], "sent once, though its lease had ended"
    assert [one.outcome for one in post.attempts("ris")] == ["delivered"]


async def test_an_idle_or_dead_destination_is_looked_at_every_two_seconds_by_one_query(
    tmp_path: Path, sqlite_database: SqliteDatabase, clock: HandClock
) -> None:
    queries: list[str] = []
    with dead_port() as port:
        post = Post(tmp_path, sqlite_database, clock, {"idle": port, "dead": port})
        post.queue("dead", *names("m", 9))
        async with post.running():
            await until(lambda: post.standing("dead").circuit.state == OPEN, "the circuit to open")
            await until(lambda: all(one.ended_at for one in post.attempts("dead")), "what was under way")
            loop = asyncio.get_running_loop()
            event.listen(sqlite_database.engine, "before_cursor_execute", _note(queries))
            begun = loop.time()
            await asyncio.sleep(4.5)
            looks = len([one for one in queries if one.startswith("SELECT") and "lanes" in one])
            took = loop.time() - begun

    assert 2 <= looks <= 2 * (took / 2 + 1), "two destinations, each every two seconds"


def _note(queries: list[str]) -> Callable[..., None]:
    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        queries.append(statement)

    return note
