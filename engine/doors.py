"""The ways in: opened one after another, closed all at once.

Each is held open by a task of its own, so that a slow one does not keep the others open at shutdown.
Told to hurry, they are cancelled while they close: each then cuts off what it was waiting for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any


@contextlib.asynccontextmanager
async def opened(
    doors: Sequence[AbstractAsyncContextManager[Any]],
    *,
    on_closing: Callable[[], None],
    hurry: asyncio.Event,
) -> AsyncIterator[list[Any]]:
    """Everything open while entered; yields what each door gave when it was entered.

    Args:
        on_closing: called before the first is closed.
        hurry: no more patience with what is under way.
    """
    close = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    gave = []
    try:
        for door in doors:
            entered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(_hold_open(door, entered, close))
            tasks.append(task)
            gave.append(await entered)
        yield gave
    finally:
        on_closing()
        close.set()
        hurrying = asyncio.create_task(hurry.wait())
        closing = asyncio.gather(*tasks, return_exceptions=True)
        waited: set[asyncio.Future[Any]] = {closing, hurrying}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await closing
        hurrying.cancel()


async def _hold_open(
    door: AbstractAsyncContextManager[Any], entered: asyncio.Future[Any], close: asyncio.Event
) -> None:
    try:
        async with door as gave:
            entered.set_result(gave)
            await close.wait()
    except BaseException as error:
        if entered.done():
            raise
        entered.set_exception(error)
