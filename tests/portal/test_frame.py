"""What happens around every page: faults, crowds, what programs get, and what is said to whom."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response

from channels.inbound.portal import channel, gate
from channels.inbound.portal.channel import CHANNEL
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from channels.inbound.portal.settings import PortalSettings
from engine.channel import InboundContext
from engine.directory import Directory
from engine.errors import Busy, DatabaseUnavailable, OrderRefused, OrderRefusedReason
from engine.model import Site
from engine.web import serving

PATIENT = "Doe^Jane"


async def broken(visit: Visit) -> Response:
    raise KeyError(PATIENT)


async def busy(visit: Visit) -> Response:
    raise Busy("the disk is full: make room", storage_full=True)


async def away(visit: Visit) -> Response:
    raise DatabaseUnavailable("the database is away: try again")


async def gone(visit: Visit) -> Response:
    raise OrderRefused(OrderRefusedReason.GONE, "this result was retracted")


async def unknown(visit: Visit) -> Response:
    raise PageRaised(418, "no such state")


async def told(visit: Visit) -> Response:
    return PlainTextResponse(await visit.field("said"))


PAGES = (
    Page("/broken", broken, role=None),
    Page("/busy", busy, role=None),
    Page("/away", away, role=None),
    Page("/gone", gone, role=None),
    Page("/unknown", unknown, role=None),
    Page("/told", told, role=None, methods=("POST",), max_body=1000),
)
Serve = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """A portal with these pages alone, on a socket of its own; nobody can sign in."""

    @contextlib.asynccontextmanager
    async def serving_pages(*more: Page, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
        monkeypatch.setattr(channel, "MODULES", (SimpleNamespace(PAGES=PAGES + more),))
        sites = Directory({"st-marys": Site("st-marys", "St. Mary's")})
        context = InboundContext("portal", sites, 1 << 20, data=tmp_path)
        built: Any = CHANNEL.build(PortalSettings(**given), context)
        app = Starlette(routes=list(built.routes(SimpleNamespace(orders=None))))
        async with (
            serving(app, "127.0.0.1:0") as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client,
        ):
            yield client

    return serving_pages


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/broken", 500, "Something broke on our side"),
        ("/busy", 507, "The disk is full: make room."),
        ("/away", 503, "The database is away: try again."),
        ("/gone", 410, "This result was retracted."),
        ("/unknown", 418, "No such state."),
        ("/nothing", 404, "Nothing of this name is here"),
        ("/told", 405, "This address does not take that"),
    ],
)
async def test_an_error_has_its_page_and_its_problem(serve: Serve, path: str, status: int, said: str) -> None:
    async with serve() as client:
        page = await client.get(path, headers={"Accept": "text/html"})
        assert (page.status_code, said in page.text) == (status, True)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        problem = await client.get(path, headers={"Accept": "application/json"})
        assert problem.headers["content-type"] == "application/problem+json"
        assert problem.json()["status"] == status


async def test_a_fault_is_logged_without_anything_of_the_request(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as client:
        with caplog.at_level(logging.ERROR, "pons.portal"):
            answer = await client.get("/broken?name=secret", headers={"Cookie": "pons-said=secret"})
    assert PATIENT not in answer.text
    (record,) = [one for one in caplog.records if one.name == "pons.portal"]
    assert record.pons == {"inbound": "portal", "method": "GET", "path": "/broken"}  # type: ignore[attr-defined]


async def test_a_crowd_at_the_door_is_asked_to_come_again_and_leaves_its_places(serve: Serve) -> None:
    entered, leave = asyncio.Semaphore(0), asyncio.Event()

    async def waits(visit: Visit) -> Response:
        entered.release()
        await leave.wait()
        return PlainTextResponse("in")

    async with serve(Page("/waits", waits, role=None), max_requests=4, requests_per_second=1000) as client:
        inside = [asyncio.create_task(client.get("/waits")) for _ in range(2)]
        for _ in inside:
            await asyncio.wait_for(entered.acquire(), 30)
        refused = await client.get("/waits")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        leave.set()
        assert [(await one).text for one in inside] == ["in", "in"]
        assert (await client.get("/waits")).text == "in"


async def test_a_form_that_comes_too_slowly_is_given_up(serve: Serve) -> None:
    async with serve(receive_timeout="250ms") as client:
        page = await client.get("/nothing", headers={"Accept": "text/html"})
        token = page.text.partition('data-csrf="')[2].partition('"')[0]
        stay = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield f"csrf={token}&said=".encode()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stay.wait(), 30)

        async def post() -> httpx.Response:
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return await client.post("/told", content=slow(), headers=kind)

        task = asyncio.create_task(post())
        await asyncio.wait([task], timeout=10)
        stay.set()
        assert (await task).status_code == 408


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"said": "yes"}, 200),
        ({"said": "a\x00b"}, 400),
        ({"said": "x" * 1001}, 413),
        ({f"f{n}": "" for n in range(80)}, 200),
    ],
)
async def test_a_form_is_read_within_its_limits(serve: Serve, fields: dict[str, str], status: int) -> None:
    async with serve() as client:
        page = await client.get("/nothing", headers={"Accept": "text/html"})
        token = page.text.partition('data-csrf="')[2].partition('"')[0]
        assert (await client.post("/told", data={**fields, "csrf": token})).status_code == status


async def test_a_form_with_a_file_goes_elsewhere(serve: Serve) -> None:
    async with serve() as client:
        page = await client.get("/nothing", headers={"Accept": "text/html"})
        token = page.text.partition('data-csrf="')[2].partition('"')[0]
        answer = await client.post("/told", data={"csrf": token}, files={"said": b"content"})
        assert answer.status_code == 400


def test_a_seat_is_left_whatever_happens() -> None:
    seats = gate.Seats(1)
    with contextlib.suppress(KeyError), seats.taking():
        raise KeyError
    with seats.taking(), pytest.raises(PageRaised), seats.taking():
        pass
    assert (seats.taken, seats.refused) == (0, 1)


def test_what_was_refused_is_counted_by_its_limit() -> None:
    gated = gate.Gate(PortalSettings(max_requests=2, requests_per_second=0.01))
    gated.pace("ana")
    with pytest.raises(PageRaised, match="too many requests"):
        gated.pace("ana")
    with gated.visitors.taking(), pytest.raises(PageRaised), gated.visitors.taking():
        pass
    samples = gated.measured("portal")
    assert samples['pons_portal_refused_total{inbound="portal",limit="pace"}'] == 1
    assert samples['pons_portal_refused_total{inbound="portal",limit="visitors"}'] == 1
    assert samples['pons_portal_refused_total{inbound="portal",limit="total"}'] == 0
    assert samples['pons_portal_requests{inbound="portal"}'] == 0
