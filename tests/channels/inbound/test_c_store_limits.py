"""More than there is room for: who is turned away, who is not, and what is left afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from channels.inbound.c_store import CStore, CStoreSettings
from engine.channel import InboundContext, InFlight
from engine.directory import Directory
from engine.model import Site
from tests.channels.inbound.conftest import MAX_INSTANCE, House
from tests.channels.inbound.dimse_wire import (
    ASSOCIATE_AC,
    COMMAND,
    EXPLICIT,
    LAST,
    P_DATA,
    RELEASE,
    RELEASE_RP,
    Wire,
    command,
    instance,
    message,
    pdu,
    request,
    status,
    store_fields,
    value,
)
from tests.channels.inbound.test_c_store import store
from tests.peers import dcmtk

SITES = {
    "greedy": Site("greedy", "Greedy", ae_titles=("GREEDY",), addresses=("127.0.0.1",)),
    "modest": Site("modest", "Modest", ae_titles=("STM_PACS", "STORESCU"), addresses=("127.0.0.1",)),
}
STRANGER = "127.0.0.9"
LOCAL_LIMIT = (2, 3, 2)  # rejected transient, presentation related, local limit exceeded (PS3.8 9.3.4)
MR = "1.2.840.10008.5.1.4.1.1.4"
MB = 1 << 20

Opened = Callable[..., AbstractAsyncContextManager[tuple[CStore, int]]]


@pytest.fixture
def opened(house: House) -> Opened:
    """A function: ``async with opened(max_associations=4) as (channel, port)``."""

    @asynccontextmanager
    async def listen(in_flight: InFlight | None = None, **settings: Any) -> AsyncIterator[tuple[CStore, int]]:
        context = InboundContext("pacs", Directory(SITES), MAX_INSTANCE, in_flight=in_flight or InFlight())
        channel = CStore(CStoreSettings(**{"listen": "127.0.0.1:0", **settings}), context)
        async with channel.listening(house.intake):
            assert channel.address is not None
            yield channel, channel.address[1]

    return listen


class Sender(Wire):
    """An association of one of the sites, if it is accepted."""

    def __init__(self, port: int, calling: str = "GREEDY") -> None:
        super().__init__(port, asking=request({1: (MR, EXPLICIT)}, calling=calling))

    @property
    def is_accepted(self) -> bool:
        return self.answer[0] == ASSOCIATE_AC

    @property
    def rejection(self) -> tuple[int, int, int]:
        """Result, source, reason."""
        return self.answer[7], self.answer[8], self.answer[9]

    def store(self, number: int, bulk: int = 0) -> int | None:
        """Send one instance; its status."""
        one = instance(number, bulk=bulk)
        self.write(message(1, command(store_fields(one.sop_instance_uid)), one.data_set))
        return status(self.read())

    def begin(self, number: int, bulk: int) -> bytes:
        """Send the command and all but the last byte of the data set; returns that."""
        one = instance(number, bulk=bulk)
        whole = message(1, command(store_fields(one.sop_instance_uid)), one.data_set)
        self.write(whole[:-1])
        return whole[-1:]

    def release(self) -> None:
        """End as one should."""
        self.write(RELEASE)
        assert self.read()[0] == RELEASE_RP
        self.socket.close()


def warnings(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """Facts of the log lines that tell of this."""
    return [record.__dict__["pons"] for record in caplog.records if record.getMessage() == event]


def counted(channel: CStore, name: str) -> float:
    """A sample without its first label."""
    return channel.measured().get(name.replace("{", '{inbound="pacs",').replace(",}", "}"), 0.0)


# ── associations ────────────────────────────────────────────────────────────────────────────────


async def test_one_more_association_of_a_site_is_rejected_as_transient_and_another_site_gets_in(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(max_associations=4) as (channel, port):
        held = [await asyncio.to_thread(Sender, port) for _ in range(3)]
        assert all(sender.is_accepted for sender in held)
        refused = await asyncio.to_thread(Sender, port)
        assert refused.rejection == LOCAL_LIMIT
        other = await asyncio.to_thread(Sender, port, "STM_PACS")
        assert other.is_accepted
        assert counted(channel, 'pons_associations{site="greedy"}') == 3
        assert counted(channel, 'pons_associations{site="modest"}') == 1
        assert counted(channel, 'pons_associations_refused_total{limit="site"}') == 1
        await asyncio.to_thread(held[0].release)
        again = await asyncio.to_thread(Sender, port)  # a place is free before the release is answered
        assert again.is_accepted
        for sender in (*held[1:], other, again):
            await asyncio.to_thread(sender.release)
        refused.socket.close()
        assert counted(channel, 'pons_associations{site="greedy"}') == 0
    (told,) = warnings(caplog, "too many associations")
    assert told == {"inbound": "pacs", "site": "greedy", "reason": "the site has 3, its limit"}


async def test_what_the_table_says_of_one_site_holds(opened: Opened) -> None:
    async with opened(max_associations=4, max_associations_per_site=1) as (_, port):
        held = await asyncio.to_thread(Sender, port)
        refused = await asyncio.to_thread(Sender, port)
        assert (held.is_accepted, refused.rejection) == (True, LOCAL_LIMIT)
        held.socket.close()
        refused.socket.close()


async def test_past_the_total_every_site_is_rejected_as_transient(opened: Opened) -> None:
    async with opened(max_associations=2, max_associations_per_site=2) as (channel, port):
        held = [await asyncio.to_thread(Sender, port, title) for title in ("GREEDY", "STM_PACS")]
        refused = [await asyncio.to_thread(Sender, port, title) for title in ("GREEDY", "STM_PACS")]
        assert [sender.rejection for sender in refused] == [LOCAL_LIMIT, LOCAL_LIMIT]
        assert counted(channel, 'pons_associations_refused_total{limit="total"}') == 2
        for sender in (*held, *refused):
            sender.socket.close()


async def test_a_stranger_learns_nothing_of_how_many_there_are(opened: Opened) -> None:
    async with opened(max_associations=1) as (_, port):
        held = await asyncio.to_thread(Sender, port)
        stranger = await asyncio.to_thread(Sender, port, "NOBODY")
        assert stranger.rejection == (1, 1, 3)  # calling AE title not recognized, whatever is free
        held.socket.close()
        stranger.socket.close()


# ── connections that ask for nothing ────────────────────────────────────────────────────────────


def idle(port: int, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))


def is_open(connection: socket.socket) -> bool:
    """Whether the other side still holds it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def associations() -> int:
    return sum(thread.name == "pons-association" for thread in threading.enumerate())


@pytest.mark.parametrize("source", [STRANGER, "127.0.0.1"])
async def test_idle_connections_of_one_address_make_room_for_those_that_ask(
    opened: Opened,
    house: House,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    source: str,
) -> None:
    async with opened(acse_timeout="10m") as (channel, port):
        flood = await asyncio.to_thread(lambda: [idle(port, source) for _ in range(200)])
        await eventually(lambda: counted(channel, "pons_connections_closed_total{}") == 168)
        await eventually(lambda: sum(map(is_open, flood)) == 32)
        assert [is_open(connection) for connection in flood[-32:]] == [True] * 32  # the oldest went
        assert (await store(port, instance())).Status == 0x0000
        await eventually(lambda: associations() <= 33)
        for connection in flood:
            connection.close()
        await eventually(lambda: associations() == 0)
        assert counted(channel, "pons_connections_without_association{}") == 0
    assert len(house.stored) == 1
    told = warnings(caplog, "connections closed that asked for no association")
    assert 1 <= len(told) < 10  # not one for each
    assert told[0] == {"remote_address": source, "closed": 1}


@contextlib.contextmanager
def flooding(port: int, source: str) -> Iterator[Callable[[], int]]:
    """Open idle connections as fast as they are accepted, until left; how many have been."""
    stop, opened_so_far = threading.Event(), 0

    def flood() -> None:
        nonlocal opened_so_far
        held: list[socket.socket] = []
        while not stop.is_set():
            held.append(idle(port, source))
            opened_so_far += 1
            if len(held) > 200:
                held.pop(0).close()
        for connection in held:
            connection.close()

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield lambda: opened_so_far
    finally:
        stop.set()
        thread.join()


@pytest.mark.peers
async def test_a_flood_from_one_address_keeps_no_sender_of_another_out(
    opened: Opened,
    house: House,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    for number in range(1, 4):
        (folder / f"{number}.dcm").write_bytes(instance(number))
    async with opened(acse_timeout="10m") as (channel, port):
        with flooding(port, STRANGER) as opened_so_far:
            await eventually(lambda: opened_so_far() > 100)
            sent = await asyncio.to_thread(dcmtk.storescu, port, [folder], calling="STORESCU")
            assert sent.exit_status == 0, sent.output
            for number in range(4, 9):
                assert (await store(port, instance(number))).Status == 0x0000
        assert counted(channel, "pons_connections_closed_total{}") > 0
        await eventually(lambda: associations() == 0)
    assert len(house.stored) == 8


async def test_one_that_never_ends_its_tls_handshake_has_to_go_as_well(
    opened: Opened, certificate: tuple[Path, Path], eventually: Callable[..., Any]
) -> None:
    chain, key = certificate
    tls = {"certificate": {"file": str(chain)}, "key": {"file": str(key)}}
    async with opened(tls=tls, acse_timeout="10m") as (channel, port):
        flood = await asyncio.to_thread(lambda: [idle(port, STRANGER) for _ in range(40)])
        await eventually(lambda: sum(map(is_open, flood)) == 32)
        assert counted(channel, "pons_connections_closed_total{}") == 8
        for connection in flood:
            connection.close()


# ── slow senders ────────────────────────────────────────────────────────────────────────────────


async def test_a_byte_now_and_then_does_not_keep_a_landing_open(
    opened: Opened, house: House, eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def trickle(sender: Sender) -> bytes:
        sender.write(pdu(P_DATA, value(1, COMMAND | LAST, command(store_fields("1.2.3.1.1")))))
        sender.socket.settimeout(0.02)  # between two bytes, unless it is answered
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            sender.write(pdu(P_DATA, value(1, 0, b"x")))  # a whole PDU each: dimse_timeout never ends it
            try:
                first = sender.socket.recv(1)
            except TimeoutError:
                continue
            except ConnectionError:  # a reset overtook the abort
                return b""
            return first
        raise AssertionError("it was listened to for a minute")

    async with opened(dimse_timeout="500ms", min_rate="1kB") as (channel, port):
        sender = await asyncio.to_thread(Sender, port)
        answer = await asyncio.to_thread(trickle, sender)
        assert answer in (b"\x07", b"")  # A-ABORT, if it was still to be read
        sender.socket.close()
        await eventually(lambda: associations() == 0)
        assert counted(channel, "pons_messages_too_slow_total{}") == 1
        assert counted(channel, 'pons_associations{site="greedy"}') == 0
    assert (house.stored, house.landing, house.open_sessions) == ([], [], 0)
    (told,) = warnings(caplog, "association aborted")
    assert told["reason"] == "slower than 1024 bytes a second inside a message"


async def test_a_sender_that_pauses_between_messages_is_not_slow(opened: Opened, house: House) -> None:
    async with opened(dimse_timeout="100ms", min_rate="100MB") as (_, port):
        sender = await asyncio.to_thread(Sender, port)
        for number in (1, 2):
            await asyncio.sleep(0.3)  # longer than the window
            assert await asyncio.to_thread(sender.store, number) == 0x0000
        await asyncio.to_thread(sender.release)
    assert len(house.stored) == 2


# ── bytes in flight ─────────────────────────────────────────────────────────────────────────────


async def test_beyond_the_bytes_in_flight_a_site_is_asked_to_try_again_and_another_goes_on(
    opened: Opened, house: House, eventually: Callable[..., Any]
) -> None:
    in_flight = InFlight(4 * MB, patience=0.1)
    async with opened(in_flight) as (_, port):
        first, second = [await asyncio.to_thread(Sender, port) for _ in range(2)]
        modest = await asyncio.to_thread(Sender, port, "STM_PACS")
        rest = await asyncio.to_thread(first.begin, 1, 3 * MB)
        await eventually(lambda: in_flight.measured()["pons_intake_bytes_in_flight"] >= 3 * MB)
        assert await asyncio.to_thread(second.store, 2) == 0xA700
        assert await asyncio.to_thread(modest.store, 3) == 0x0000
        first.write(rest)
        assert status(await asyncio.to_thread(first.read)) == 0x0000
        assert await asyncio.to_thread(second.store, 2) == 0x0000
        for sender in (first, second, modest):
            await asyncio.to_thread(sender.release)
    assert in_flight.measured() == {
        "pons_intake_bytes_in_flight": 0.0,
        "pons_intake_waiting": 0.0,
        'pons_intake_refused_total{reason="in_flight"}': 1.0,
    }
    assert (len(house.stored), house.landing) == (3, [])


async def test_one_that_waits_for_room_goes_on_as_soon_as_there_is_some(
    opened: Opened, house: House, eventually: Callable[..., Any]
) -> None:
    in_flight = InFlight(4 * MB, patience=60)
    async with opened(in_flight) as (_, port):
        first, second = [await asyncio.to_thread(Sender, port) for _ in range(2)]
        rest = await asyncio.to_thread(first.begin, 1, 3 * MB)
        await eventually(lambda: in_flight.measured()["pons_intake_bytes_in_flight"] >= 3 * MB)
        waiting = asyncio.create_task(asyncio.to_thread(second.store, 2))
        await eventually(lambda: in_flight.measured()["pons_intake_waiting"] == 1)
        first.write(rest)
        assert await asyncio.wait_for(waiting, 60) == 0x0000
        assert status(await asyncio.to_thread(first.read)) == 0x0000
        for sender in (first, second):
            await asyncio.to_thread(sender.release)
    assert len(house.stored) == 2


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_room_comes_back_when_a_sender_is_lost(
    opened: Opened, house: House, eventually: Callable[..., Any], ending: str
) -> None:
    in_flight = InFlight(4 * MB, patience=0.1)
    async with opened(in_flight) as (_, port):
        sender = await asyncio.to_thread(Sender, port)
        await asyncio.to_thread(sender.begin, 1, 3 * MB)
        await eventually(lambda: in_flight.measured()["pons_intake_bytes_in_flight"] >= 3 * MB)
        sender.reset() if ending == "reset" else sender.socket.close()
        await eventually(lambda: in_flight.measured()["pons_intake_bytes_in_flight"] == 0)
        await eventually(lambda: house.landing == [])


# ── all of it at once ───────────────────────────────────────────────────────────────────────────


def descriptors() -> int:
    """Open sockets, pipes and files, without those of the database, which opens another when it likes."""
    count = 0
    for link in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # closed since, as that of this very list
            count += "pons.sqlite" not in str(link.readlink())
    return count


class Crowd:
    """Senders of one site, each in a thread: associate, send a few, release, and again."""

    def __init__(self, port: int, calling: str, senders: int, rounds: int, first: int) -> None:
        self.stored = self.rejected = self.busy = 0
        self.others: list[object] = []
        self._port, self._calling, self._rounds, self._first = port, calling, rounds, first
        self._all_have_asked = threading.Barrier(senders)
        self._lock = threading.Lock()
        self._senders = senders

    def run(self) -> None:
        with ThreadPoolExecutor(self._senders) as threads:
            for done in [threads.submit(self._send, number) for number in range(self._senders)]:
                done.result()

    def _send(self, sender: int) -> None:
        for turn in range(self._rounds):
            association = Sender(self._port, self._calling)
            self._all_have_asked.wait(60)  # so that as many as can are open at once, whatever the machine
            if not association.is_accepted:
                self._count(association.rejection)
                association.socket.close()
                continue
            for one in range(2):
                number = self._first + (sender * self._rounds + turn) * 2 + one
                self._count(association.store(number, bulk=MB // 4))
            association.release()

    def _count(self, outcome: object) -> None:
        with self._lock:
            self.stored += outcome == 0x0000
            self.busy += outcome == 0xA700
            self.rejected += outcome == LOCAL_LIMIT
            if outcome not in (0x0000, 0xA700, LOCAL_LIMIT):
                self.others.append(outcome)


async def test_a_greedy_site_is_held_back_and_a_modest_one_never_notices(
    opened: Opened, house: House, eventually: Callable[..., Any]
) -> None:
    in_flight = InFlight(4 * MB)
    async with opened(in_flight, max_associations=8) as (channel, port):
        warm = await asyncio.to_thread(Sender, port, "STM_PACS")  # what is opened once is open from now on
        assert await asyncio.to_thread(warm.store, 0) == 0x0000
        await asyncio.to_thread(warm.release)
        await eventually(lambda: associations() == 0)
        before = descriptors()
        greedy = Crowd(port, "GREEDY", senders=14, rounds=5, first=1000)
        modest = Crowd(port, "STM_PACS", senders=2, rounds=12, first=2000)
        with flooding(port, STRANGER):
            await asyncio.wait_for(
                asyncio.gather(asyncio.to_thread(greedy.run), asyncio.to_thread(modest.run)), 120
            )
        assert (modest.stored, modest.rejected, modest.busy, modest.others) == (48, 0, 0, [])
        assert greedy.others == []
        assert greedy.rejected >= 5 * 8  # of 14 that ask at once at most 6 are let in
        assert greedy.stored > 0
        await eventually(lambda: associations() == 0)
        await eventually(lambda: descriptors() <= before)
        assert in_flight.measured()["pons_intake_bytes_in_flight"] == 0
        assert in_flight.measured()["pons_intake_waiting"] == 0
        assert counted(channel, 'pons_associations{site="greedy"}') == 0
        assert counted(channel, 'pons_associations_refused_total{limit="site"}') == greedy.rejected
    assert len(house.stored) == 1 + greedy.stored + modest.stored
    assert (house.landing, house.open_sessions) == ([], 0)
