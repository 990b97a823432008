"""Whose lease has run out sends no more, whatever it was waiting for."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from sqlalchemy import insert, select

from engine import config
from engine.attempt import Attempts, Destination, UnderWay
from engine.clock import SteadyClock
from engine.model import Acknowledgement, Delivery, Part, Payload
from engine.rendering import Rendering
from engine.store import lanes
from engine.store.database import Database
from engine.store.lanes import Claim
from engine.store.tables import attempts, studies
from tests.engine.store.rows import study_row

LEASE = 3.0  # seconds; a busy machine renews it late


class Ready:
    """What there is to send is made already."""

    async def payload(self, _channel: object, _head: object) -> Payload:
        return Payload(parts=(Part("1", "application/hl7-v2", b"new"),))


class AsksFirst:
    """A channel that sends when its peer has said that it may, as an association does."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self.waits = asyncio.Event()

    async def deliver(self, payload: Payload, _delivery: Delivery) -> Acknowledgement:
        reader, writer = await asyncio.open_connection(sock=self._wire)
        try:
            self.waits.set()
            await reader.readexactly(1)
            writer.write(cast(bytes, payload.parts[0].content))
            await writer.drain()
        finally:
            writer.close()
        return Acknowledgement("AA", "")


def claimed(database: Database, node: str) -> list[Claim]:
    return database.write_now(lambda c: lanes.claim(c, "his", node, time.time(), LEASE, 1))


def freeze(seconds: float) -> None:
    """Stand still, loop and all, as at SIGSTOP."""
    time.sleep(seconds)


@pytest.fixture
def post(tmp_path: Path, database: Database) -> Any:
    """One delivery for one destination."""
    document = {
        "version": 1,
        "sites": {"s": {"name": "S", "addresses": ["127.0.0.1"]}},
        "outbound": {"his": {"type": "hl7_oru", "site": "s", "host": "127.0.0.1", "port": 2575}},
    }
    (tmp_path / "routes.yaml").write_text(yaml.safe_dump(document))
    database.write_now(lambda c: c.execute(insert(studies).values(study_row())))
    database.write_now(
        lambda c: lanes.enqueue(
            c, time.time(), delivery_id="d", destination="his", order_key="1.2", lineage="l", study_id=1,
            study_revision=1, result_id=None, status="study", transform=[], after=[],
        )
    )  # fmt: skip
    return config.load(tmp_path / "routes.yaml").outbound["his"]


@pytest.mark.parametrize("frozen", [False, True], ids=["awake", "frozen past the lease"])
async def test_who_wakes_after_its_lease_sends_nothing(database: Database, post: Any, frozen: bool) -> None:
    ours, peer = socket.socketpair()
    channel = AsksFirst(ours)
    clock = SteadyClock()
    made = Attempts(database, clock, cast(Rendering, Ready()), lease=LEASE, on_acknowledged=lambda: None)
    (claim,) = claimed(database, "old")
    until = asyncio.get_running_loop().time() + LEASE
    attempt = asyncio.create_task(
        made.make(UnderWay(Destination(post, cast(Any, channel)), claim, False, until))
    )
    await channel.waits.wait()
    if frozen:
        freeze(LEASE + 0.2)
        (taken,) = claimed(database, "new")
        assert taken.fence > claim.fence
    peer.send(b"!")  # and now it may
    await attempt

    peer.settimeout(5)
    assert peer.recv(10) == (b"" if frozen else b"new")
    peer.close()
    rows = database.read_now(lambda c: c.execute(select(attempts).order_by(attempts.c.attempt)).all())
    assert [row.outcome for row in rows] == (["unknown", "unknown"] if frozen else ["delivered"])
    if frozen:
        assert database.write_now(lambda c: lanes.extend(c, taken, time.time() + 9)), (
            "it is the other's still"
        )


async def test_a_lease_that_is_renewed_holds_for_as_long_as_the_peer_takes(
    database: Database, post: Any
) -> None:
    ours, peer = socket.socketpair()
    channel = AsksFirst(ours)
    made = Attempts(
        database, SteadyClock(), cast(Rendering, Ready()), lease=LEASE, on_acknowledged=lambda: None
    )
    (claim,) = claimed(database, "old")
    until = asyncio.get_running_loop().time() + LEASE
    attempt = asyncio.create_task(
        made.make(UnderWay(Destination(post, cast(Any, channel)), claim, False, until))
    )
    await channel.waits.wait()
    await asyncio.sleep(1.4 * LEASE)
    peer.send(b"!")
    await attempt

    peer.settimeout(5)
    assert peer.recv(10) == b"new"
    peer.close()
