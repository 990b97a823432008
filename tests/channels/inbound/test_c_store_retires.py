"""A listener that retires serves whom it has to their end; who takes its place gets everyone else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from channels.inbound.c_store import CStore, CStoreSettings
from engine.channel import InboundContext
from engine.directory import Directory
from engine.listening_sockets import ListeningSockets
from tests.channels.inbound.conftest import MAX_INSTANCE, SITES, House
from tests.channels.inbound.test_c_store import associate, send


def channel(port: int, ae_title: str, sockets: ListeningSockets) -> CStore:
    settings = CStoreSettings(listen=f"127.0.0.1:{port}", ae_title=ae_title)
    return CStore(settings, InboundContext("pacs", Directory(SITES), MAX_INSTANCE, sockets.bind))


async def test_its_association_goes_on_while_its_successor_takes_all_others(
    house: House, instance: Callable[..., bytes], free_port: Callable[[], int]
) -> None:
    sockets, port = ListeningSockets(), free_port()
    before, after = channel(port, "BEFORE", sockets), channel(port, "AFTER", sockets)
    async with before.listening(house.intake):
        old = await associate(port, called="BEFORE")
        async with after.listening(house.intake):
            retiring = asyncio.create_task(before.retire())
            new = await associate(port, called="AFTER")
            while not new.is_established:  # for a moment either may answer
                new = await associate(port, called="AFTER")
            assert (await send(new, instance(1))).Status == 0x0000
            assert (await send(old, instance(2))).Status == 0x0000
            assert not retiring.done()
            await asyncio.to_thread(new.release)
            await asyncio.to_thread(old.release)
            await asyncio.wait_for(retiring, 30)
            last = await associate(port, called="AFTER")
            await asyncio.to_thread(last.release)
    assert len(house.stored) == 2


async def test_with_no_association_open_it_has_retired_at_once_and_its_port_is_free(
    house: House, free_port: Callable[[], int]
) -> None:
    port = free_port()
    async with channel(port, "PONS", ListeningSockets()).listening(house.intake):
        pass
    alone = channel(port, "PONS", ListeningSockets())
    async with alone.listening(house.intake):
        await asyncio.wait_for(alone.retire(), 30)
        async with channel(port, "NEXT", ListeningSockets()).listening(house.intake):
            next_one = await associate(port, called="NEXT")
            assert next_one.is_established
            await asyncio.to_thread(next_one.release)
