"""What every way out promises, each shown through the engine's own store and dispatch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from engine.errors import Refused, TryAgain
from engine.model import Delivery, DeliveryId, History
from tests.contract.house import PATIENT, House
from tests.contract.rigs import FILED, KEPT, RIGS, Peer, Rig

INSTALLED = sorted(point.name for point in entry_points(group="pons.outbound"))


def test_every_installed_way_out_has_a_rig() -> None:
    assert sorted([*RIGS, *KEPT, *FILED]) == INSTALLED


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest) -> Rig:
    return RIGS[request.param]


@contextmanager
def house(folder: Path, peer: Peer, timeout: str = "10s") -> Iterator[House]:
    opened = House(folder, peer.block, timeout)
    try:
        yield opened
    finally:
        opened.close()


def no_patient_in(*texts: str) -> None:
    said = " ".join(texts)
    assert [word for word in PATIENT if word in said] == []


async def test_what_is_taken_is_delivered_once(rig: Rig, tmp_path: Path) -> None:
    async with rig([], tmp_path) as peer:
        with house(tmp_path, peer) as engine:
            outcome = await engine.deliver()
        accepted = peer.accepted()

    assert outcome.state == "delivered"
    assert [each.outcome for each in outcome.attempts] == ["delivered"]
    assert outcome.attempts[0].code
    assert accepted == outcome.identifiers
    assert len(set(accepted)) == len(accepted) > 0


async def test_a_transient_failure_is_tried_again_and_delivered_once_under_the_same_identifiers(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="pons"):
        async with rig(["busy", "busy"], tmp_path) as peer:
            with house(tmp_path, peer) as engine:
                outcome = await engine.deliver()
            attempted, accepted = peer.attempted(), peer.accepted()

    assert outcome.state == "delivered"
    assert [each.outcome for each in outcome.attempts] == ["again", "again", "delivered"]
    assert accepted == outcome.identifiers
    assert attempted.count(outcome.identifiers[0]) == 3
    assert set(attempted) == set(outcome.identifiers)
    no_patient_in(outcome.said, caplog.text)


async def test_a_permanent_refusal_is_a_dead_letter_with_its_reason(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="pons"):
        async with rig(["refuse", "take"], tmp_path) as peer:
            with house(tmp_path, peer) as engine:
                outcome = await engine.deliver()
            accepted = peer.accepted()

    assert outcome.state == "dead"
    assert [each.outcome for each in outcome.attempts] == ["refused"]
    assert outcome.attempts[0].code
    assert "127.0.0.1" in outcome.reason
    assert accepted == []
    no_patient_in(outcome.said, caplog.text)


async def test_a_slow_peer_costs_its_timeout_and_is_tried_again(rig: Rig, tmp_path: Path) -> None:
    async with rig(["stall"], tmp_path) as peer:
        with house(tmp_path, peer, timeout="2s") as engine:
            outcome = await engine.deliver()
        attempted, accepted = peer.attempted(), peer.accepted()

    slow, second = outcome.attempts
    assert outcome.state == "delivered"
    assert (slow.outcome, slow.code) == ("unknown", "timeout")
    # the attempt begins at its claim, so its first rendering is in here as well
    assert slow.ended_at - slow.started_at < 30, "the peer says nothing for a minute"
    assert second.outcome == "delivered"
    assert accepted == outcome.identifiers
    assert attempted.count(outcome.identifiers[0]) == 2


async def test_a_peer_that_hangs_up_in_the_middle_is_tried_again(rig: Rig, tmp_path: Path) -> None:
    async with rig(["close"], tmp_path) as peer:
        with house(tmp_path, peer) as engine:
            outcome = await engine.deliver()
        attempted, accepted = peer.attempted(), peer.accepted()

    assert outcome.state == "delivered"
    first, second = outcome.attempts
    assert (first.outcome in ("again", "unknown"), second.outcome) == (True, "delivered")
    assert accepted == outcome.identifiers
    assert set(attempted) == set(outcome.identifiers)


async def test_a_delivery_renders_the_same_whenever_it_is_rendered(rig: Rig, tmp_path: Path) -> None:
    history = History(DeliveryId("d-1"), datetime(2026, 1, 2, 12, 0, tzinfo=UTC))
    async with rig([], tmp_path) as peer:
        with house(tmp_path, peer) as engine:
            study = await engine.study()
            subject = study if engine.declared.type.carries == "study" else engine.result(study)
            first, second = (engine.channel.render(subject, history) for _ in range(2))

    assert first == second
    assert [part.read() for part in first.parts] == [part.read() for part in second.parts]
    no_patient_in(first.summary, *(part.identifier for part in first.parts))


async def test_one_attempt_keeps_its_own_time_and_leaves_at_once_when_cancelled(
    rig: Rig, tmp_path: Path
) -> None:
    history = History(DeliveryId("d-1"), datetime(2026, 1, 2, 12, 0, tzinfo=UTC))
    delivery = Delivery(DeliveryId("d-1"), "under-test", "k", 1, history.rendered_at)
    async with rig(["stall", "stall"], tmp_path) as peer:
        with house(tmp_path, peer, timeout="1s") as engine:
            study = await engine.study()
            subject = study if engine.declared.type.carries == "study" else engine.result(study)
            payload = engine.channel.render(subject, history)

            started = time.monotonic()
            with pytest.raises(TryAgain) as caught:
                await engine.channel.deliver(payload, delivery)
            took = time.monotonic() - started

            task = asyncio.create_task(engine.channel.deliver(payload, delivery))
            await _until(lambda: peer.attempted().count(payload.parts[0].identifier) == 2)
            started = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            left = time.monotonic() - started

    assert caught.value.code == "timeout"
    assert 1 <= took < 5
    assert left < 3


async def _until(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_probe_tells_a_living_peer_from_a_dead_one(rig: Rig, tmp_path: Path) -> None:
    async with rig([], tmp_path) as peer:
        with house(tmp_path, peer) as engine:
            await engine.channel.probe()
            attempted = peer.attempted()
            channel = engine.channel
    with pytest.raises((TryAgain, Refused)):
        await channel.probe()

    assert attempted == []  # a sign of life is asked for without sending anything
