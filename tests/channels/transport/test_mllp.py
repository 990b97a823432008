"""MLLP towards receivers that acknowledge, refuse, answer others, babble, stall and hang up."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from channels.transport import mllp
from channels.transport.mllp import Answer, Receiver
from engine.channel import Secret, Tls
from engine.errors import Refused, TryAgain
from engine.model import Acknowledgement, Part
from tests.contract.scp import Conversation, bare_server
from tests.peers.mllp import MllpServer

MESSAGE = (
    "MSH|^~\\&|PONS||HIS||20260101120000+0000||ORU^R01^ORU_R01|{id}|P|2.5.1|||||||UNICODE UTF-8\r"
    "PID|1||7^^^STM^MR||Ünal^Ayşe\r"
)
ACK = "MSH|^~\\&|HIS||PONS||20260101120001||ACK^R01^ACK|{id}A|P|2.5.1\rMSA|{code}|{answered}\r{tail}"


def message(number: int = 42) -> Part:
    return Part(str(number), "x-application/hl7-v2+er7", MESSAGE.format(id=number).encode())


def framed(code: str, answered: str = "42", tail: str = "") -> bytes:
    return b"\x0b" + ACK.format(id=1, code=code, answered=answered, tail=tail).encode() + b"\x1c\r"


def says(*answers: bytes) -> Conversation:
    """Answer each message with the next of these bytes, then hang up."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\x1c\r")
            writer.write(answer)
            await writer.drain()

    return converse


async def send(converse: Conversation, *messages: Part, patience: float = 10.0) -> Acknowledgement:
    async with bare_server(converse) as port:
        return await mllp.send(Receiver("127.0.0.1", port, timeout=patience), messages or (message(),))


@pytest.mark.parametrize("code", ["AA", "CA"])
async def test_an_acknowledgement_of_our_message_is_success(code: str) -> None:
    answer = await send(says(framed(code)))

    assert answer.code == code


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (framed("AE"), TryAgain, "AE"),
        (framed("CE"), TryAgain, "CE"),
        (framed("AR"), Refused, "AR"),
        (framed("CR"), Refused, "CR"),
        (framed("AA", answered="41"), TryAgain, "MSA-2"),  # the late answer to an earlier message
        (framed("AR", answered="41"), TryAgain, "MSA-2"),  # nor is somebody else's refusal ours
        (framed("AA", answered=""), TryAgain, "MSA-2"),
        (framed("OK"), TryAgain, "protocol"),  # no code of table 0008
        (b"\x0bMSH|^~\\&|HIS\r\x1c\r", TryAgain, "protocol"),  # no MSA
        (b"\x0bHTTP/1.1 400\r\x1c\r", TryAgain, "protocol"),  # no HL7
        (b"\x0b\x1c\r", TryAgain, "protocol"),
        (b"garbage \x1c\r", TryAgain, "protocol"),  # no start of block
        (b"garbage", TryAgain, "closed"),
        (b"\x0bMSH|^~\\&|HIS\rMSA|AA|4", TryAgain, "closed"),  # cut off before it is whole
        (b"\x0b" + b"x" * ((1 << 20) + 2), TryAgain, "protocol"),  # endless
        (b"", TryAgain, "closed"),
    ],
)
async def test_what_does_not_acknowledge_our_message_is_never_success(
    answer: bytes, error: type[TryAgain | Refused], code: str
) -> None:
    with pytest.raises(error) as caught:
        await send(says(answer))

    assert caught.value.code == code


async def test_what_arrives_is_the_message_in_one_block() -> None:
    received = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\x1c\r"))
        writer.write(framed("AA"))
        await writer.drain()

    await send(converse)

    assert received == [b"\x0b" + message().read() + b"\x1c\r"]


@pytest.mark.parametrize(
    "answer",
    [
        b"\r\n" + framed("AA"),  # line ends before the block
        framed("AA").replace(b"\x1c\r", b"\x1c"),  # no CR after it
        framed("AA").replace(b"\r", b"\n").replace(b"\x1c\n", b"\x1c\r"),  # LF between segments
        framed("AA").replace(b"|", b"#"),  # a field separator of its own
        framed("AA", tail="ZZZ|anything|^~\\&\r"),
    ],
)
async def test_the_liberties_receivers_take_are_understood(answer: bytes) -> None:
    assert (await send(says(answer))).code == "AA"


async def test_messages_follow_each_other_each_after_its_acknowledgement() -> None:
    answer = await send(says(framed("AA", "1"), framed("AA", "2")), message(1), message(2))

    assert answer.detail == "2 acknowledged by id"


async def test_the_second_message_is_not_sent_when_the_first_is_refused() -> None:
    received = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            received.append(await reader.readuntil(b"\x1c\r"))
            writer.write(framed("AR", "1"))
            await writer.drain()

    with pytest.raises(Refused):
        await send(converse, message(1), message(2))

    assert len(received) == 1


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("ERR||PID^1^3|204^unknown key identifier^HL70357|E\r", "204 unknown key identifier at PID^1^3"),
        ("ERR||PID^1^3^1^4|101|E\r", "101 required field missing at PID^1^3^1^4"),
        ("ERR|||207|E||||Ünal, Ayşe is unknown\r", "207 application internal error"),  # ERR-8 is not told
        ("ERR||Ünal|Ayşe\r", ""),  # neither a location nor a code of table 0357
        ("MSA|AR|42|patient Ünal unknown\r", ""),
    ],
)
async def test_of_a_refusal_only_coded_values_are_told(tail: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        await send(says(framed("AR", tail=tail)))

    assert words in str(caught.value)
    assert "nal" not in str(caught.value).replace("internal", "")
    assert "Ay" not in str(caught.value)


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        continue


async def _reads_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\x0b")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("converse", [_silent, _reads_nothing, _drips])
async def test_a_slow_receiver_costs_no_more_than_the_timeout(converse: Conversation) -> None:
    large = Part("42", "x-application/hl7-v2+er7", message().read() + b"OBX|" + b"x" * (16 << 20))

    started = time.monotonic()
    with pytest.raises(TryAgain) as caught:
        await send(converse, large, patience=0.5)
    elapsed = time.monotonic() - started

    assert caught.value.code == "timeout"
    assert 0.5 <= elapsed < 5


async def test_nobody_listening_is_tried_again(free_port: Callable[[], int]) -> None:
    with pytest.raises(TryAgain) as caught:
        await mllp.send(Receiver("127.0.0.1", free_port()), [message()])

    assert caught.value.code == "connection"


@pytest.mark.parametrize("character", [b"\x0b", b"\x1c"])
async def test_a_message_that_would_end_its_own_block_is_refused(character: bytes) -> None:
    with pytest.raises(Refused, match="framing"):
        await send(says(framed("AA")), Part("42", "", b"MSH|" + character + b"|"))


async def test_nothing_to_send_is_not_called_delivered() -> None:
    with pytest.raises(Refused):
        await mllp.send(Receiver("127.0.0.1", 1), [])


async def test_a_probe_finds_a_listener_and_misses_a_closed_port(free_port: Callable[[], int]) -> None:
    async with bare_server(_silent) as port:
        await mllp.probe(Receiver("127.0.0.1", port))
    with pytest.raises(TryAgain):
        await mllp.probe(Receiver("127.0.0.1", free_port()))


@pytest.mark.peers
async def test_python_hl7_receives_sixteen_megabytes_and_answers_for_them(
    hl7_mllp_server: Callable[..., MllpServer],
) -> None:
    peer = hl7_mllp_server(("AE",))
    large = Part("42", "", message().read() + b"OBX|1|ED|1^x||" + b"QUJD" * (4 << 20))

    with pytest.raises(TryAgain) as caught:
        await mllp.send(Receiver("127.0.0.1", peer.port), [large])
    answer = await mllp.send(Receiver("127.0.0.1", peer.port), [large])

    assert (caught.value.code, answer.code) == ("AE", "AA")
    assert peer.received == [large.read()] * 2


async def test_tls_is_used_and_the_certificate_checked(certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    async with bare_server(says(framed("AA")), tls=context) as port:
        trusting = Tls(ca=Secret(file=chain))
        answer = await mllp.send(Receiver("127.0.0.1", port, trusting, 10), [message()])
        with pytest.raises(TryAgain) as caught:
            await mllp.send(Receiver("127.0.0.1", port, Tls(), 10), [message()])
        missing = Tls(ca=Secret(file=chain.with_name("gone.pem")))
        with pytest.raises(TryAgain, match="cannot be read"):
            await mllp.send(Receiver("127.0.0.1", port, missing, 10), [message()])

    assert answer.code == "AA"
    assert caught.value.code == "tls"


def test_an_acknowledgement_in_any_eight_bit_character_set_is_read() -> None:
    data = ACK.format(id=1, code="AA", answered="42", tail="NTE|1||für\r").encode("latin-1")

    assert Answer.parse(data) == Answer("AA", "42")
