"""MLLP receivers that misbehave, each met by the engine's own store and dispatch.

A message is delivered when its own acknowledgement says so and at no other moment; whatever else comes
back leaves it queued, and every further attempt is the same message under the same control id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.house import PATIENT, House, Outcome

VT, FS, CR = b"\x0b", b"\x1c", b"\x0d"


def acknowledgement(code: str, control_id: str) -> bytes:
    text = f"MSH|^~\\&|RIS|STM|PONS||20260102||ACK^R01|9|P|2.5.1\rMSA|{code}|{control_id}\r"
    return VT + text.encode() + FS + CR


Answer = Callable[[str], bytes | None]
"""What is answered to a message control id; None hangs up instead."""


class Receiver:
    """Files every message, and answers the first ones by a script, the rest with AA."""

    def __init__(self, script: list[Answer]) -> None:
        self.script = script
        self.filed: list[bytes] = []
        self.port = 0

    def control_ids(self) -> list[str]:
        return [message.split(b"\r")[0].split(b"|")[9].decode() for message in self.filed]

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while block := await reader.readuntil(FS):
                self.filed.append(block.strip(VT + FS + CR))
                script = self.script.pop(0) if self.script else lambda one: acknowledgement("AA", one)
                answer = script(self.control_ids()[-1])
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def receiving(script: list[Answer]) -> AsyncIterator[Receiver]:
    receiver = Receiver(script)
    server = await asyncio.start_server(receiver.converse, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


async def deliver(receiver: Receiver, folder: Path, patience: str = "10s") -> Outcome:
    house = House(folder, {"type": "hl7_oru", "host": "127.0.0.1", "port": receiver.port}, patience)
    try:
        return await house.deliver()
    finally:
        house.close()


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        (lambda _: None, "unknown", "closed"),  # it has filed the message and hangs up
        (lambda one: acknowledgement("AE", one), "again", "AE"),
        (lambda one: acknowledgement("CE", one), "again", "CE"),
        (lambda _: acknowledgement("AA", "ANOTHER"), "unknown", "MSA-2"),  # a late one, of somebody else
        (lambda _: acknowledgement("AA", ""), "unknown", "MSA-2"),
        (lambda one: acknowledgement("OK", one), "unknown", "protocol"),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n" + FS, "unknown", "protocol"),
        (lambda _: VT + b"\xff\x00nonsense" + FS + CR, "unknown", "protocol"),
    ],
    ids=["drops", "AE", "CE", "other-id", "no-id", "no-such-code", "http", "garbage"],
)
async def test_what_is_no_acceptance_of_this_message_is_followed_by_the_same_message(
    answer: Answer, outcome: str, code: str, tmp_path: Path
) -> None:
    async with receiving([answer, answer]) as receiver:
        done = await deliver(receiver, tmp_path)
    assert done.state == "delivered"
    assert [(one.outcome, one.code) for one in done.attempts] == [
        (outcome, code),
        (outcome, code),
        ("delivered", "AA"),
    ]
    assert len(set(receiver.filed)) == 1, "byte for byte the same"
    assert receiver.control_ids() == done.identifiers * 3, "a receiver that keeps ids takes it once"
    assert [word for word in PATIENT if word in done.said] == []


@pytest.mark.parametrize("code", ["AR", "CR"])
async def test_a_rejection_ends_the_delivery_with_its_code(code: str, tmp_path: Path) -> None:
    async with receiving([lambda one: acknowledgement(code, one)]) as receiver:
        done = await deliver(receiver, tmp_path)
    assert (done.state, [(one.outcome, one.code) for one in done.attempts]) == ("dead", [("refused", code)])
    assert len(receiver.filed) == 1


async def test_a_message_that_is_turned_down_for_ever_is_a_dead_letter_in_the_end(tmp_path: Path) -> None:
    async with receiving([lambda one: acknowledgement("AE", one)] * 99) as receiver:
        done = await deliver(receiver, tmp_path)
    assert done.state == "dead"
    assert [(one.outcome, one.code) for one in done.attempts] == [("again", "AE")] * 20
    assert done.reason.startswith("AE turned down 20 times: ")
    assert len(set(receiver.filed)) == 1


async def test_silence_leaves_it_unknown_and_is_followed_by_the_same_message(tmp_path: Path) -> None:
    async with receiving([lambda _: b""]) as receiver:
        done = await deliver(receiver, tmp_path, patience="1s")
    assert [(one.outcome, one.code) for one in done.attempts] == [("unknown", "timeout"), ("delivered", "AA")]
    assert receiver.control_ids() == done.identifiers * 2


async def test_a_late_answer_to_an_earlier_attempt_is_credited_to_nobody(tmp_path: Path) -> None:
    """The first attempt is answered after its timeout, on its own connection: the second asks anew."""
    late = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = (await reader.readuntil(FS)).strip(VT + FS + CR)
        control_ids.append(message.split(b"\r")[0].split(b"|")[9].decode())
        if len(control_ids) == 1:
            await late.wait()
        else:
            late.set()
        writer.write(acknowledgement("AA", control_ids[-1]))
        writer.close()

    control_ids: list[str] = []
    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    receiver = Receiver([])
    receiver.port = server.sockets[0].getsockname()[1]
    done = await deliver(receiver, tmp_path, patience="1s")
    server.close()
    assert [one.outcome for one in done.attempts] == ["unknown", "delivered"]
    assert len(control_ids) == 2
