"""More requests, bytes or patience than there is room for: who hears 503 or 408, and who is served."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette

from channels.inbound.stow_rs import StowRs, StowRsSettings
from engine.channel import InboundContext, InFlight
from engine.directory import Directory
from engine.model import Site
from engine.web import serving
from tests.channels.inbound.conftest import MAX_INSTANCE, House
from tests.channels.inbound.test_stow_rs import RELATED, answered, body, post

SITES = {
    "greedy": Site("greedy", "Greedy", addresses=("127.0.0.1",)),
    "modest": Site("modest", "Modest", addresses=("127.0.0.2",)),
}
MODEST = "127.0.0.2"
MB = 1 << 20

Opened = Callable[..., AbstractAsyncContextManager[tuple[StowRs, str]]]


@pytest.fixture
def opened(house: House) -> Opened:
    """A function: ``async with opened(max_requests=4) as (channel, url)``."""

    @asynccontextmanager
    async def listen(in_flight: InFlight | None = None, **settings: Any) -> AsyncIterator[tuple[StowRs, str]]:
        context = InboundContext("web", Directory(SITES), MAX_INSTANCE, in_flight=in_flight or InFlight())
        channel = StowRs(StowRsSettings(**settings), context)
        app = Starlette(routes=list(channel.routes(house.intake)))
        async with serving(app, "127.0.0.1:0") as port:
            yield channel, f"http://127.0.0.1:{port}/dicomweb/studies"

    return listen


class Client:
    """A request written by hand, whose body need not come to its end."""

    def __init__(self, url: str, length: int, *, source: str = "127.0.0.1", expect: str = "") -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        address = (where.hostname, where.port or 80)
        self.socket = socket.create_connection(address, timeout=30, source_address=(source, 0))
        head = f"POST {where.path} HTTP/1.1\r\nHost: x\r\nContent-Type: {RELATED}\r\n"
        expectation = f"Expect: {expect}\r\n" if expect else ""
        self.socket.sendall(f"{head}{expectation}Content-Length: {length}\r\n\r\n".encode())

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def answer(self) -> str:
        """The head of the answer."""
        received = b""
        while b"\r\n\r\n" not in received:
            more = self.socket.recv(4096)
            assert more, f"closed after {received!r}"
            received += more
        return received.decode("latin-1").partition("\r\n\r\n")[0]


async def open_request(url: str, house: House, content: bytes, **options: Any) -> Client:
    """A request of which all but the last byte has been sent."""
    client = await asyncio.to_thread(Client, url, len(content), **options)
    await asyncio.to_thread(client.send, content[:-1])
    return client


def counted(channel: StowRs, name: str) -> float:
    """A sample without its first label."""
    return channel.measured().get(name.replace("{", '{inbound="web",').replace(",}", "}"), 0.0)


# ── requests ────────────────────────────────────────────────────────────────────────────────────


async def test_one_more_request_of_a_site_is_busy_and_another_site_is_served(
    opened: Opened,
    house: House,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(max_requests=4) as (channel, url):
        contents = [body(instance(number)) for number in (1, 2, 3)]
        held = [await open_request(url, house, content) for content in contents]
        await eventually(lambda: counted(channel, 'pons_requests{site="greedy"}') == 3)
        refused = await post(url, body(instance(4)))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        assert refused.text == "too many requests: the site has 3, its limit; try again later\n"
        assert (await post(url, body(instance(5)), source=MODEST)).status_code == 200
        for client, content in zip(held, contents, strict=True):
            await asyncio.to_thread(client.send, content[-1:])
            assert "200 OK" in await asyncio.to_thread(client.answer)
            client.socket.close()
        assert (await post(url, body(instance(4)))).status_code == 200
        assert counted(channel, 'pons_requests{site="greedy"}') == 0
        assert counted(channel, 'pons_requests_refused_total{limit="site"}') == 1
    assert len(house.stored) == 5
    (line,) = [record for record in caplog.records if record.getMessage() == "request refused"]
    assert line.levelno == logging.WARNING
    assert line.__dict__["pons"]["status"] == 503


async def test_past_the_total_every_site_is_busy(
    opened: Opened, house: House, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    async with opened(max_requests=1) as (channel, url):
        client = await open_request(url, house, body(instance()))
        await eventually(lambda: counted(channel, 'pons_requests{site="greedy"}') == 1)
        assert (await post(url, body(instance(2)), source=MODEST)).status_code == 503
        assert counted(channel, 'pons_requests_refused_total{limit="total"}') == 1
        client.socket.close()
        await eventually(lambda: counted(channel, 'pons_requests{site="greedy"}') == 0)
        assert (await post(url, body(instance(2)), source=MODEST)).status_code == 200


async def test_a_client_that_asks_first_hears_so_before_it_sends(
    opened: Opened, house: House, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    content = body(instance())
    async with opened(max_requests=1) as (channel, url):
        client = await open_request(url, house, content)
        await eventually(lambda: counted(channel, 'pons_requests{site="greedy"}') == 1)
        asking = await asyncio.to_thread(Client, url, 1 << 30, source=MODEST, expect="100-continue")
        assert "503" in (await asyncio.to_thread(asking.answer)).splitlines()[0]
        asking.socket.close()
        client.socket.close()
        await eventually(lambda: counted(channel, 'pons_requests{site="greedy"}') == 0)
        asking = await asyncio.to_thread(Client, url, len(content), source=MODEST, expect="100-continue")
        assert "100 Continue" in await asyncio.to_thread(asking.answer)
        await asyncio.to_thread(asking.send, content)
        assert "200 OK" in await asyncio.to_thread(asking.answer)
        asking.socket.close()


async def test_what_the_table_says_of_one_site_holds(
    opened: Opened, house: House, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    async with opened(max_requests=2, max_requests_per_site=2) as (channel, url):
        held = [await open_request(url, house, body(instance(number))) for number in (1, 2)]
        await eventually(lambda: counted(channel, 'pons_requests{site="greedy"}') == 2)
        assert (await post(url, body(instance(3)), source=MODEST)).status_code == 503
        for client in held:
            client.socket.close()


# ── slow clients ────────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_was_fast_at_first_must_not_be_slow_for_ever(
    opened: Opened, house: House, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    def trickle(client: Client) -> str:
        client.socket.settimeout(0.02)  # between two bytes, unless it is answered
        for _ in range(3000):
            client.send(b"x")
            try:
                first = client.socket.recv(1)
            except TimeoutError:
                continue
            client.socket.settimeout(30)
            return first.decode() + client.answer()
        raise AssertionError("it was listened to for a minute")

    async with opened(receive_timeout="500ms", min_rate="1kB") as (channel, url):
        # on average it is fast enough for an hour
        content = body(instance(bulk=3 * MB))
        client = await asyncio.to_thread(Client, url, 1 << 30)
        await asyncio.to_thread(client.send, content[: 2 * MB])
        assert "408" in (await asyncio.to_thread(trickle, client)).splitlines()[0]
        client.socket.close()
        assert counted(channel, "pons_requests_too_slow_total{}") == 1
        await eventually(lambda: counted(channel, 'pons_requests{site="greedy"}') == 0)
    assert (house.stored, house.landing, house.open_sessions) == ([], [], 0)


# ── bytes in flight ─────────────────────────────────────────────────────────────────────────────


async def test_beyond_the_bytes_in_flight_a_site_is_busy_and_another_is_served(
    opened: Opened, house: House, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    in_flight = InFlight(4 * MB, patience=0.1)
    content = body(instance(1, bulk=3 * MB + MB // 2))
    async with opened(in_flight) as (_, url):
        client = await asyncio.to_thread(Client, url, len(content))
        await asyncio.to_thread(client.send, content[:-1000])
        await eventually(lambda: in_flight.measured()["pons_intake_bytes_in_flight"] >= 3 * MB)
        refused = await post(url, body(instance(2)))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        (failed,) = answered(refused).FailedSOPSequence
        assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.3.1.2", 0xA700)
        assert (await post(url, body(instance(3)), source=MODEST)).status_code == 200
        await asyncio.to_thread(client.send, content[-1000:])
        assert "200 OK" in await asyncio.to_thread(client.answer)
        client.socket.close()
        assert (await post(url, body(instance(2)))).status_code == 200
    assert in_flight.measured()["pons_intake_bytes_in_flight"] == 0
    assert in_flight.measured()['pons_intake_refused_total{reason="in_flight"}'] == 1
    assert (len(house.stored), house.landing, house.open_sessions) == (3, [], 0)


async def test_a_request_that_waited_in_vain_does_not_wait_anew_with_each_part(
    opened: Opened,
    house: House,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    in_flight = InFlight(4 * MB, patience=0.5)
    content = body(instance(1, bulk=3 * MB + MB // 2))
    async with opened(in_flight) as (_, url):
        client = await asyncio.to_thread(Client, url, len(content))
        await asyncio.to_thread(client.send, content[:-1000])
        await eventually(lambda: in_flight.measured()["pons_intake_bytes_in_flight"] >= 3 * MB)
        # with each part it would be five minutes, and the client gives up after thirty seconds
        refused = await post(url, body(*(instance(number) for number in range(600))))
        assert refused.status_code == 503
        assert len(answered(refused).FailedSOPSequence) == 600
        client.socket.close()
        await eventually(lambda: in_flight.measured()["pons_intake_bytes_in_flight"] == 0)
    told = [record for record in caplog.records if record.getMessage().startswith("instance refused")]
    assert len(told) == 1


async def test_room_comes_back_when_a_client_goes_away(
    opened: Opened, house: House, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    in_flight = InFlight(4 * MB)
    content = body(instance(bulk=3 * MB))
    async with opened(in_flight) as (_, url):
        client = await asyncio.to_thread(Client, url, len(content))
        await asyncio.to_thread(client.send, content[:-1000])
        await eventually(lambda: in_flight.measured()["pons_intake_bytes_in_flight"] >= 2 * MB)
        client.socket.close()
        await eventually(lambda: in_flight.measured()["pons_intake_bytes_in_flight"] == 0)
    assert (house.stored, house.landing) == ([], [])


# ── all of it at once ───────────────────────────────────────────────────────────────────────────


async def test_a_greedy_site_is_held_back_and_a_modest_one_never_notices(
    opened: Opened, house: House, instance: Callable[..., bytes]
) -> None:
    statuses: dict[str, list[int]] = {"greedy": [], "modest": []}

    async def send(url: str, site: str, number: int) -> None:
        source = MODEST if site == "modest" else "127.0.0.1"
        answer = await post(url, body(instance(number, bulk=MB // 4)), source=source)
        statuses[site].append(answer.status_code)

    async def modest(url: str, first: int) -> None:
        for number in range(first, first + 10):
            await send(url, "modest", number)

    async with opened(InFlight(8 * MB), max_requests=8) as (channel, url):
        contents = [body(instance(number)) for number in range(1, 7)]
        held = [await open_request(url, house, content) for content in contents]  # all that it may have
        crowd = [send(url, "greedy", number) for number in range(100, 120)]
        await asyncio.wait_for(asyncio.gather(*crowd, modest(url, 200), modest(url, 300)), 120)
        for client, content in zip(held, contents, strict=True):
            await asyncio.to_thread(client.send, content[-1:])
            assert "200 OK" in await asyncio.to_thread(client.answer)
            client.socket.close()
        assert statuses == {"greedy": [503] * 20, "modest": [200] * 20}
        assert counted(channel, 'pons_requests{site="greedy"}') == 0
        assert counted(channel, 'pons_requests{site="modest"}') == 0
        assert counted(channel, 'pons_requests_refused_total{limit="site"}') == 20
    assert (len(house.stored), house.landing, house.open_sessions) == (26, [], 0)
