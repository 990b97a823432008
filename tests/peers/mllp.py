"""An HL7 v2 receiver on python-hl7's `hl7.mllp`: another implementation's framing and ACKs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hl7
import pytest
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from tests.peers.process import wait_until

LIMIT = 64 * 1024 * 1024  # hl7.mllp stops at 64 KiB by default, less than one embedded PDF


class MllpServer:
    """Files every message it receives and answers each with python-hl7's own ACK.

    ``answers`` are the acknowledgement codes of the first messages, in order; after them AA.
    The word "close" instead of a code drops the connection unanswered.
    """

    def __init__(self, folder: Path, port: int, answers: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = port
        self.answers = list(answers)
        self.received: list[bytes] = []
        self.faults: list[str] = []
        folder.mkdir(parents=True)
        self._loop = asyncio.new_event_loop()
        self._bound = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"mllp-{port}")
        self._thread.start()
        if not self._bound.wait(10):
            pytest.fail(f"the MLLP receiver could not bind 127.0.0.1:{port}")

    @property
    def messages(self) -> list[hl7.Message]:
        """What was received, parsed by python-hl7."""
        return [hl7.parse(raw.decode("utf-8")) for raw in list(self.received)]

    def wait_for_messages(self, count: int, timeout: float = 60.0) -> list[hl7.Message]:
        """Wait until at least ``count`` messages have come."""
        wait_until(lambda: len(self.received) >= count, f"{count} HL7 messages", timeout)
        return self.messages

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the MLLP receiver did not end"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()

        def connected(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await start_hl7_server(connected, "127.0.0.1", self.port, limit=LIMIT, encoding="utf-8")
        self._bound.set()
        await self._stop.wait()
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()

    async def _converse(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            while True:
                block: bytes = await reader.readblock()
                (self.folder / f"{len(self.received):05d}.hl7").write_bytes(block)
                self.received.append(block)
                answer = self.answers.pop(0) if self.answers else "AA"
                if answer == "close":
                    return
                message = hl7.parse(block.decode("utf-8"))
                writer.writemessage(message.create_ack(answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the sender hung up
        except Exception as error:
            self.faults.append(repr(error))
        finally:
            writer.close()


@pytest.fixture
def hl7_mllp_server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., MllpServer]]:
    """Factory: ``hl7_mllp_server(answers=("AE", "AA"), port=None)``."""
    running: list[MllpServer] = []

    def make(answers: Sequence[str] = (), *, port: int | None = None) -> MllpServer:
        peer = MllpServer(tmp_path / f"mllp-{len(running)}", port or free_port(), answers)
        running.append(peer)
        return peer

    yield make
    for peer in running:
        peer.stop()
    assert [fault for peer in running for fault in peer.faults] == [], "python-hl7 could not take a message"
