"""Ten thousand deliveries wait for a dead destination for a day; the engine hardly notices."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import threading
from pathlib import Path

import pytest

from engine.breaker import OPEN
from engine.dispatch import Dispatch
from engine.store.sqlite import SqliteDatabase
from tests.engine.conftest import HandClock
from tests.engine.post_house import BREAKER, Peer, Post, dead_port, peers, until

WAITING = 10_000
DAY = 86_400.0


@pytest.mark.faults
async def test_ten_thousand_wait_a_day_for_a_dead_destination_and_cost_nothing(
    tmp_path: Path, sqlite_database: SqliteDatabase, clock: HandClock
) -> None:
    with dead_port() as port:
        async with peers(well := Peer()):
            post = Post(tmp_path, sqlite_database, clock, {"dead": port, "well": well.port})
            async with post.running() as dispatch:
                alone = await _latency(post, well, dispatch, "alone")
                await asyncio.to_thread(post.queue_many, "dead", "d", WAITING)
                dispatch.wake()
                await until(lambda: post.standing("dead").circuit.state == OPEN, "the circuit to open")
                begun = clock.now()
                tasks, threads = len(asyncio.all_tasks()), threading.active_count()
                beside, memory = [], []
                probes = 0
                while clock.now() < begun + DAY:
                    await _probe(post, dispatch, clock)
                    probes += 1
                    if probes % 60 == 0:
                        beside.append(await _latency(post, well, dispatch, f"beside-{probes}"))
                        gc.collect()
                        memory.append(resident())
                assert len(asyncio.all_tasks()) <= tasks + 2
                assert threading.active_count() <= threads + 8, "pools that fill up, not one a delivery"
            tried = len(post.attempts("dead"))
            await well.stop()
        ratio = statistics.median(beside) / alone
        grown = memory[-1] - memory[0]
        print(
            f"{WAITING} waiting for a day: {tried} attempts, memory {grown / 1e6:+.1f} MB between the first"
            f" hours and the last, latency of the other x{ratio:.2f} ({alone * 1e3:.1f} ms alone)"
        )

        assert set(post.states("dead").values()) == {"queued"}
        assert tried <= DAY / 300 + 10 + BREAKER["failures"] + 4, "the circuit bounds them"
        assert grown < 20_000_000, "less than 2 kB for each that waits, whatever the allocator keeps"
        assert ratio < 5

    back = await Peer().start(port)
    async with post.running():
        clock.advance(301)
        await until(lambda: len(back.received) > 200, "all to go at once, not one a backoff")
    await back.stop()


async def _probe(post: Post, dispatch: Dispatch, clock: HandClock) -> None:
    """Let the time of the next probe come, and wait until it has failed."""
    circuit = post.standing("dead").circuit
    assert circuit.probe_at is not None
    clock.time = max(clock.time, circuit.probe_at)
    dispatch.wake()
    await until(
        lambda: (now := post.standing("dead").circuit).state == OPEN and now.openings > circuit.openings,
        "a probe that fails",
    )


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _latency(post: Post, well: Peer, dispatch: Dispatch, word: str) -> float:
    """Median seconds from queueing to the healthy peer's having it."""
    took = []
    loop = asyncio.get_running_loop()
    for number in range(20):
        name = f"{word}-{number}"
        await asyncio.to_thread(post.queue, "well", name)
        begun = loop.time()
        dispatch.wake()
        while name not in well.received:
            assert loop.time() - begun < 30
            await asyncio.sleep(0.001)
        took.append(loop.time() - begun)
    return statistics.median(took)
