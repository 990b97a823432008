"""Ways in are opened in order, closed at once, and cut off when told to hurry."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from engine.doors import opened


class Door:
    """A way in that takes its time to close."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen
        self.closing, self.quiet = asyncio.Event(), asyncio.Event()
        self.fails = False

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        if self.fails:
            raise OSError("taken")
        self.seen.append(f"{self.name} opened")
        try:
            yield self.name
        finally:
            self.seen.append(f"{self.name} closing")
            self.closing.set()
            try:
                await self.quiet.wait()
            finally:
                self.seen.append(f"{self.name} closed")


@pytest.fixture
async def doors() -> tuple[list[str], Door, Door]:
    seen: list[str] = []
    return seen, Door("dicom", seen), Door("http", seen)


async def test_none_waits_for_another_to_close(doors: tuple[list[str], Door, Door]) -> None:
    seen, dicom, http = doors
    both = [dicom.listening(), http.listening()]

    async def closing() -> None:
        async with opened(both, on_closing=lambda: seen.append("draining"), hurry=asyncio.Event()) as gave:
            assert gave == ["dicom", "http"]

    closed = asyncio.create_task(closing())
    await dicom.closing.wait()
    await http.closing.wait()
    assert seen == ["dicom opened", "http opened", "draining", "dicom closing", "http closing"]
    http.quiet.set()
    dicom.quiet.set()
    await closed
    assert {"dicom closed", "http closed"} <= set(seen)


async def test_told_to_hurry_a_door_that_waits_is_cut_off(doors: tuple[list[str], Door, Door]) -> None:
    seen, dicom, http = doors
    hurry = asyncio.Event()
    async with opened([dicom.listening(), http.listening()], on_closing=hurry.set, hurry=hurry):
        pass
    assert seen[-2:] == ["dicom closed", "http closed"]


async def test_one_that_cannot_be_opened_closes_those_before_it(doors: tuple[list[str], Door, Door]) -> None:
    seen, dicom, http = doors
    http.fails = True
    dicom.quiet.set()
    with pytest.raises(OSError, match="taken"):
        async with opened(
            [dicom.listening(), http.listening()], on_closing=lambda: None, hurry=asyncio.Event()
        ):
            pass
    assert seen == ["dicom opened", "dicom closing", "dicom closed"]
