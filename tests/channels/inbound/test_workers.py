"""A channel in worker processes: each of them serves, one that dies is missed by nobody for long."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import select

import engine.recorder
from channels.inbound.c_store import CHANNEL, CStoreSettings
from engine.channel import InboundContext
from engine.directory import Directory
from engine.listening_sockets import ListeningSockets
from engine.model import Site
from engine.store.tables import instances
from engine.workers.assignment import Premises
from engine.workers.crew import Crew
from tests.channels.inbound.conftest import MAX_INSTANCE, SITES, House
from tests.channels.inbound.test_c_store import MUCH, associate, open_raw, send, store
from tests.peers.part10 import data_set_bytes


@pytest.fixture
def sites() -> Directory:
    return Directory(SITES)


@pytest.fixture
def crew(house: House, sites: Directory) -> Callable[..., Crew]:
    """A function: ``crew(port, sockets, ae_title="PONS")``; two processes."""

    def make(port: int = 0, sockets: ListeningSockets | None = None, **settings: Any) -> Crew:
        bind = (sockets or ListeningSockets()).bind
        return Crew(
            CHANNEL,
            CStoreSettings(listen=f"127.0.0.1:{port}", **settings),
            InboundContext("pacs", sites, MAX_INSTANCE, bind),
            Premises(2, house.data, MAX_INSTANCE, 1 << 20),
        )

    return make


@pytest.fixture
async def serving(crew: Callable[..., Crew], house: House) -> AsyncIterator[Crew]:
    """One that listens."""
    made = crew()
    async with made.listening(house.intake):
        yield made


def port_of(crew: Crew) -> int:
    assert crew.address is not None
    return crew.address[1]


async def test_each_process_serves(serving: Crew, house: House, instance: Callable[..., bytes]) -> None:
    first, second = serving.pids
    for number, (serves, stands) in enumerate([(first, second), (second, first)]):
        os.kill(stands, signal.SIGSTOP)
        try:
            assert (await store(port_of(serving), instance(number))).Status == 0x0000, serves
        finally:
            os.kill(stands, signal.SIGCONT)
    assert len(house.stored) == 2


async def test_a_process_that_dies_leaves_nothing_and_another_takes_its_place(
    serving: Crew,
    house: House,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    content, before = data_set_bytes(instance(1)), serving.pids
    with await open_raw(port_of(serving)) as raw:
        raw.c_store()
        raw.data(2, content)
        assert await asyncio.to_thread(raw.status) == 0x0000
        assert house.open_sessions == 1
        assert any((house.data / "log").iterdir())
        raw.c_store("1.2.3.1.2")
        raw.begin(bytes(MUCH))
        await eventually(lambda: bool(house.landing))
        for pid in before:  # whichever has it
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not house.open_sessions and not house.landing)
    await eventually(lambda: len(serving.pids) == 2 and not set(serving.pids) & set(before))
    assert not any((house.data / "log").iterdir()), "its log is settled: what it kept is durable without it"
    assert (await store(port_of(serving), instance(3))).Status == 0x0000
    assert [path.name.split("-")[0] for path in house.stored] == ["1.2.3.1.1", "1.2.3.1.3"]
    deaths = [record for record in caplog.records if record.getMessage() == "worker process died"]
    assert [record.__dict__["pons"]["reason"] for record in deaths] == ["ended by SIGKILL"] * 2


async def test_what_was_kept_and_not_recorded_when_a_process_died_goes(
    serving: Crew,
    house: House,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine.recorder, "SWEEP", 0.05)
    assert (await store(port_of(serving), instance(1))).Status == 0x0000
    (recorded,) = house.stored
    orphan = recorded.with_name("1.2.3.1.2-0123456789abcdef.dcm")
    orphan.write_bytes(b"kept")
    hand = serving._hands[0]
    for path in (recorded, orphan):  # what a process says before it gives a file its name
        hand.counter.serve("keeping", (str(path.relative_to(house.data / "instances")),))
    sweeping = asyncio.create_task(house.intake.run())
    os.kill(hand.pid, signal.SIGKILL)
    await eventually(lambda: house.stored == [recorded])
    sweeping.cancel()


async def test_a_session_whose_record_is_under_way_ends_after_it(serving: Crew, house: House) -> None:
    """A process that dies while the engine records for it: nobody else would end its session."""
    counter = serving._hands[0].counter
    started, may_go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(connection: Any) -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(may_go.wait(), loop).result(60)
        house.intake.sessions.touch(connection, "pacs-1", 7)

    house.intake._recorder.record = lambda session, new: house.database.submit(slow)  # type: ignore[assignment,method-assign]
    new: Any = type("New", (), {"path": "st-marys/1.2.3/1.2.3.1.1-0.dcm"})()
    recording = counter.serve("record", ("pacs-1", new, house.intake.questions.number))
    await started.wait()
    counter.over()
    may_go.set()
    await asyncio.wrap_future(recording)
    assert house.open_sessions == 0


async def test_another_table_holds_from_the_next_arrival_on(
    serving: Crew, house: House, sites: Directory, instance: Callable[..., bytes]
) -> None:
    association = await associate(port_of(serving))
    assert (await send(association, instance(1))).Status == 0x0000
    house.intake.take(("Modality", "PatientID"), keep_versions=True)
    sites.take({"st-marys": Site("st-marys", "", ae_titles=("NEW",), addresses=("127.0.0.1",))})
    assert (await send(association, instance(2))).Status == 0x0000
    assert (await send(association, instance(1, ImageComments="other"))).Status == 0x0000, "kept as a version"
    await asyncio.to_thread(association.release)
    rows = house.database.read_now(lambda c: c.execute(select(instances.c.attributes)).all())
    asked = [{"Modality": "MR", "PatientID": "P-1"}] * 2
    assert [row.attributes for row in rows] == [{"Modality": "MR"}, *asked]
    assert not (await associate(port_of(serving))).is_established
    new = await associate(port_of(serving), calling="NEW")
    assert new.is_established
    await asyncio.to_thread(new.release)


async def test_refusals_and_strangers_are_counted_where_they_always_are(
    serving: Crew, house: House, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    assert (await store(port_of(serving), instance(1, StudyInstanceUID=""))).Status == 0xA900
    house.spool.shut = True
    assert (await store(port_of(serving), instance(2))).Status == 0xA700
    assert not (await associate(port_of(serving), calling="STRANGER")).is_established
    await eventually(lambda: house.intake.refused == {"invalid_uid": 1, "disk": 1})
    turned_away = 'pons_peers_turned_away_total{inbound="pacs",unknown="calling_ae_title"}'
    await eventually(lambda: house.intake.strangers.measured() == {turned_away: 1.0})


async def test_what_each_process_measures_is_added_up(
    serving: Crew, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    associations = [await associate(port_of(serving)) for _ in range(3)]
    open_ones = 'pons_associations{inbound="pacs",site="st-marys"}'
    await eventually(lambda: serving.measured().get(open_ones) == 3.0)
    for association in associations:
        await asyncio.to_thread(association.release)
    await eventually(lambda: serving.measured().get(open_ones) == 0.0)


async def test_its_association_goes_on_while_its_successor_takes_all_others(
    crew: Callable[..., Crew], house: House, instance: Callable[..., bytes], free_port: Callable[[], int]
) -> None:
    sockets, port = ListeningSockets(), free_port()
    before, after = crew(port, sockets, ae_title="BEFORE"), crew(port, sockets, ae_title="AFTER")
    async with before.listening(house.intake):
        old = await associate(port, called="BEFORE")
        async with after.listening(house.intake):
            retiring = asyncio.create_task(before.retire())
            new = await associate(port, called="AFTER")
            while not new.is_established:  # for a moment any of the four may answer
                new = await associate(port, called="AFTER")
            assert (await send(new, instance(1))).Status == 0x0000
            assert (await send(old, instance(2))).Status == 0x0000
            assert not retiring.done()
            await asyncio.to_thread(new.release)
            await asyncio.to_thread(old.release)
            await asyncio.wait_for(retiring, 60)
            last = await associate(port, called="AFTER")
            assert last.is_established
            await asyncio.to_thread(last.release)
    assert len(house.stored) == 2


async def test_a_channel_that_cannot_open_says_why_and_leaves_no_process(
    crew: Callable[..., Crew], house: House
) -> None:
    missing = {"certificate": {"file": house.data / "no.pem"}, "key": {"file": house.data / "no.key"}}
    broken = crew(tls=missing)
    with pytest.raises(OSError, match="No such file"):
        async with broken.listening(house.intake):
            pass
    assert broken.pids == []


async def test_told_to_hurry_it_cuts_off_what_is_under_way(
    crew: Callable[..., Crew], house: House, eventually: Callable[..., Any]
) -> None:
    made, opened, close = crew(grace="600s"), asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with made.listening(house.intake):
            opened.set()
            await close.wait()

    held = asyncio.create_task(hold())
    await opened.wait()
    with await open_raw(port_of(made)) as raw:
        raw.c_store()
        raw.begin(bytes(MUCH))
        await eventually(lambda: bool(house.landing))
        close.set()
        await eventually(lambda: made.address is None)
        assert not held.done(), "it waits for what is under way"
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(held, 60)
    assert (house.landing, house.stored, made.pids) == ([], [], [])
