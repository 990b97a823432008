"""Receivers of HL7 v2 over MLLP and of webhooks, on bare asyncio streams so that each fault is exact.

Enter: messages and events. Leave: a synced receipt for each that was read whole and not sent away,
and then the answer that the weather allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Coroutine
from typing import Any

from bench.faults.records import Ledger, Receipt
from bench.faults.weather import EVERYWHERE, LATE, Weather

STATUS = {"P": "preliminary", "F": "final", "C": "corrected"}  # OBR-25, HL7 table 0123


class Loop:
    """One event loop in a thread, for all receivers that are not threads themselves."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="sinks")
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the loop and wait."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def stop(self) -> None:
        """End the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class TextSink:
    """A listener on 127.0.0.1 that can be turned off and on again on the same port."""

    weathers: tuple[Weather, ...] = EVERYWHERE

    def __init__(self, name: str, port: int, ledger: Ledger, loop: Loop) -> None:
        self.name, self.port = name, port
        self._ledger, self._loop = ledger, loop
        self._weather: Weather = "down"
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.turn("fair")

    def turn(self, weather: Weather) -> None:
        """From now on."""
        self._loop.call(self._turn(weather))

    def stop(self) -> None:
        """For good."""
        self.turn("down")

    async def _turn(self, weather: Weather) -> None:
        if weather == "down" and self._server is not None:
            self._server.close()
            self._server = None
            for writer in list(self._open):
                writer.transport.abort()
        elif weather != "down" and self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._weather = weather

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._converse(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _took(self, identifier: str, study: str, mask: int, status: str) -> Weather:
        """Note what was taken, unless it is sent away; the weather for the answer."""
        weather = self._weather
        if weather in ("deaf", "busy", "down"):
            return weather
        self._ledger.add(Receipt(self.name, identifier, study, mask, status, weather))
        if weather == "slow":
            await asyncio.sleep(LATE)
        return weather


class MllpSink(TextSink):
    """A HIS. It is never certain of a message control id but its own."""

    weathers = (*EVERYWHERE, "wrong")

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            block = await reader.readuntil(b"\x1c\r")
            segments = [line.split("|") for line in block[1:-2].decode().split("\r") if line]
            header = segments[0]
            identifier = header[9]
            values = {s[3].split("^")[0]: s[5] for s in segments if s[0] == "OBX"}
            (request,) = [s for s in segments if s[0] == "OBR"]
            weather = await self._took(identifier, values["113014"], int(values["MASK"]), STATUS[request[25]])
            if weather in ("deaf", "mute", "down"):
                return
            told = f"{identifier}-OTHER"[-20:] if weather == "wrong" else identifier
            code = "AE" if weather == "busy" else "AA"
            answer = f"MSH|^~\\&|HIS||PONS||20260301||ACK|A{identifier}|P|2.5.1\rMSA|{code}|{told}\r"
            writer.write(b"\x0b" + answer.encode() + b"\x1c\r")
            await writer.drain()


class WebhookSink(TextSink):
    """An endpoint for events. That signatures verify is shown elsewhere."""

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            event = json.loads(await reader.readexactly(int(headers["content-length"])))
            data = event["data"]
            (mask,) = [int(one["value"]) for one in data["findings"]]
            status = event["type"].removeprefix("result.")
            weather = await self._took(event["id"], data["study"]["uid"], mask, status)
            if weather in ("deaf", "mute", "down"):
                return
            answer = "503 Service Unavailable" if weather == "busy" else "204 No Content"
            writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
