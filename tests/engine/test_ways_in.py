"""Ways in are exchanged while they run: the same is not touched, what cannot be opened changes nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.association import Association

from channels.inbound import c_store, stow_rs
from engine.channel import InboundType
from engine.directory import Directory
from engine.errors import ConfigurationError
from engine.intake import DurableIntake
from engine.model import Site
from engine.table import Declared
from engine.ways_in import WaysIn

SITES = {"st-marys": Site("st-marys", "St. Mary's", addresses=("127.0.0.1",), ae_titles=("STM_PACS",))}


def listener(name: str, port: int, **settings: Any) -> Declared[InboundType]:
    block = c_store.CStoreSettings(listen=f"127.0.0.1:{port}", **settings)
    return Declared(name, c_store.CHANNEL, block, "routes.yaml:1:1")


def block(*declared: Declared[InboundType]) -> dict[str, Declared[InboundType]]:
    return {one.name: one for one in declared}


@pytest.fixture
def ways(intake: DurableIntake) -> WaysIn:
    return WaysIn(intake, Directory(SITES), 10_000_000)


@asynccontextmanager
async def opened(ways: WaysIn, *declared: Declared[InboundType]) -> AsyncIterator[None]:
    """Open while entered; quiet on return."""
    async with ways.opened(ways.build(block(*declared))):
        yield


async def exchange(ways: WaysIn, *declared: Declared[InboundType]) -> None:
    async with ways.opening(ways.build(block(*declared))):
        pass


async def associate(port: int, called: str = "PONS") -> Association:
    ae = AE("STM_PACS")
    ae.add_requested_context("1.2.840.10008.1.1")  # Verification
    return await asyncio.to_thread(ae.associate, "127.0.0.1", port, ae_title=called)


async def echoes(association: Association) -> bool:
    answer = await asyncio.to_thread(association.send_c_echo)
    return bool(answer.get("Status") == 0x0000)


async def refuses(port: int) -> bool:
    """Whether nothing listens there, at last: a retired listener closes its socket a moment later."""
    for _ in range(500):
        with socket.socket() as probe:
            probe.settimeout(5)
            if await asyncio.to_thread(probe.connect_ex, ("127.0.0.1", port)):
                return True
        await asyncio.sleep(0.02)
    return False


async def test_one_that_is_the_same_stays_the_same_wherever_its_block_stands(
    ways: WaysIn, free_port: Callable[[], int]
) -> None:
    port, other = free_port(), free_port()
    async with opened(ways, listener("pacs", port)):
        association = await associate(port)
        before = ways.build(block(listener("pacs", port)))["pacs"]
        moved = Declared("pacs", c_store.CHANNEL, listener("pacs", port).settings, "routes.yaml:9:9")
        await exchange(ways, listener("second", other), moved)
        assert ways.build(block(moved))["pacs"] is before
        assert await echoes(association)
        added = await associate(other)
        assert await echoes(added)
        await asyncio.to_thread(added.release)
        await exchange(ways, moved)
        assert await refuses(other)
        assert await echoes(association)
        await asyncio.to_thread(association.release)


async def test_one_that_cannot_listen_keeps_all_others_from_changing(
    ways: WaysIn, free_port: Callable[[], int]
) -> None:
    port, new = free_port(), free_port()
    async with opened(ways, listener("pacs", port)):
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.listen()
            taken = stranger.getsockname()[1]
            with pytest.raises(ConfigurationError, match=rf"inbound.third.listen: 127.0.0.1:{taken} cannot"):
                await exchange(ways, listener("second", new), listener("third", taken))
        assert await refuses(new), "what was opened before it is closed again"
        association = await associate(port)
        assert await echoes(association)
        await asyncio.to_thread(association.release)
    assert await refuses(port)


async def test_what_breaks_after_they_are_open_leaves_the_ways_in_as_they_were(
    ways: WaysIn, free_port: Callable[[], int]
) -> None:
    port, new = free_port(), free_port()
    async with opened(ways, listener("pacs", port)):
        with pytest.raises(RuntimeError):
            async with ways.opening(ways.build(block(listener("second", new)))):
                raise RuntimeError("the database did not take it")
        assert await refuses(new)
        association = await associate(port)
        assert await echoes(association)
        await asyncio.to_thread(association.release)


async def test_one_with_other_settings_takes_the_port_over_and_the_old_associations_go_on(
    ways: WaysIn, free_port: Callable[[], int]
) -> None:
    port = free_port()
    async with opened(ways, listener("pacs", port, ae_title="OLD")):
        old = await associate(port, "OLD")
        await exchange(ways, listener("pacs", port, ae_title="NEW"))
        new = await associate(port, "NEW")
        while not new.is_established:  # the one that retires may answer for a moment
            new = await associate(port, "NEW")
        assert await echoes(old)
        assert await echoes(new)
        await asyncio.to_thread(old.release)
        await asyncio.to_thread(new.release)
    assert await refuses(port)


async def test_at_the_end_those_that_are_retiring_end_too(ways: WaysIn, free_port: Callable[[], int]) -> None:
    port = free_port()
    async with opened(ways, listener("pacs", port)):
        idle = await associate(port)
        await exchange(ways)
        assert await refuses(port)
        assert await echoes(idle)
    assert not ways._leaving
    await asyncio.to_thread(idle.abort)


async def test_a_mounted_one_gives_its_routes_once_while_it_is_the_same(ways: WaysIn) -> None:
    web = Declared("web", stow_rs.CHANNEL, stow_rs.StowRsSettings(), "routes.yaml:1:1")
    async with opened(ways, web):
        before = ways.build(block(web))["web"]
        moved = Declared("web", stow_rs.CHANNEL, stow_rs.StowRsSettings(path="/other"), "routes.yaml:1:1")
        after = ways.build(block(moved))["web"]
        assert [route.path for route in before.routes] == ["/dicomweb/studies", "/dicomweb/studies/{study}"]  # type: ignore[attr-defined]
        assert after is not before
        assert ways.build(block(web))["web"].routes is before.routes


async def test_what_channels_count_is_summed_also_while_one_retires(
    ways: WaysIn, free_port: Callable[[], int]
) -> None:
    port = free_port()
    async with opened(ways, listener("pacs", port)):
        old = await associate(port)
        await exchange(ways, listener("pacs", port, ae_title="AFTER"))
        new = await associate(port, "AFTER")
        while not new.is_established:  # for a moment either may answer
            new = await associate(port, "AFTER")
        samples = ways.measured()
        assert samples['pons_associations{inbound="pacs",site="st-marys"}'] == 2
        assert samples["pons_intake_bytes_in_flight"] == 0
        await asyncio.to_thread(old.release)
        await asyncio.to_thread(new.release)
