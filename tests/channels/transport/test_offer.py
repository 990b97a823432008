"""Several requests at once where the peer takes them, one where it does not; nothing is counted twice."""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
from pathlib import Path

import pytest

from channels.transport import command_set, offer
from channels.transport.association import store
from channels.transport.offer import WINDOW
from channels.transport.upper_layer import Peer, associate
from engine.channel import Tls
from engine.errors import TryAgain
from engine.model import Part
from tests.contract import instances
from tests.contract.instances import EXPLICIT, MR
from tests.contract.scp import (
    Scp,
    accept_association,
    bare_server,
    read_message,
    read_pdu,
    response,
    serving,
)


def peer(port: int, timeout: float = 30.0) -> Peer:
    return Peer("127.0.0.1", port, "PEER", "PONS", timeout=timeout)


def parts(count: int) -> list[Part]:
    return [instances.part(number) for number in range(1, count + 1)]


async def test_requests_are_on_the_way_together_and_answers_come_in_any_order() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer)
        for _ in range(5):  # whoever waits for the first answer waits for ever
            await read_message(reader)
        for number in (3, 1, 5, 2, 4):
            uid = f"1.2.3.4.{number}"
            writer.write(response(message_id=number, sop_instance_uid=uid))
        await writer.drain()
        await reader.read()

    async with bare_server(converse) as port:
        answer = await store(peer(port), parts(5))

    assert answer.detail == "5 instances stored"


@pytest.mark.parametrize(("granted", "window"), [(None, WINDOW), (0, WINDOW), (3, 3), (1, 1)])
async def test_the_window_is_what_the_peer_grants(granted: int | None, window: int) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer, window=granted)
        await reader.read()

    async with (
        bare_server(converse) as port,
        associate(peer(port), [(MR, EXPLICIT)], window=WINDOW) as association,
    ):
        assert association.window == window


async def test_no_more_than_that_are_on_the_way() -> None:
    seen: list[int] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer, window=2)
        for number in range(1, 7):
            await read_message(reader)
            seen.append(number)
            if number >= 2:  # always one behind
                writer.write(response(message_id=number - 1))
                await writer.drain()
        writer.write(response(message_id=6))
        await writer.drain()
        await reader.read()

    async with bare_server(converse) as port:
        await store(peer(port), parts(6))

    assert seen == [1, 2, 3, 4, 5, 6]


async def test_a_peer_that_grants_nothing_gets_one_at_a_time() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer, window=1)
        for number in (1, 2, 3):
            await read_message(reader)
            with pytest.raises(TimeoutError):  # nothing more comes before this is answered
                await asyncio.wait_for(reader.readexactly(1), 0.2)
            writer.write(response(message_id=number))
            await writer.drain()
        await reader.read()

    async with bare_server(converse) as port:
        answer = await store(peer(port), parts(3))

    assert answer.detail == "3 instances stored"


@pytest.mark.parametrize("message_id", [0, 4, 77])
async def test_an_answer_to_what_was_never_asked_ends_it(message_id: int) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer)
        for _ in range(3):
            await read_message(reader)
        writer.write(response(message_id=1) + response(message_id=message_id))
        await writer.drain()
        await reader.read()

    async with bare_server(converse) as port:
        with pytest.raises(TryAgain) as caught:
            await store(peer(port), parts(3))

    assert (caught.value.code, caught.value.uncertain) == ("protocol", True)


async def test_a_second_answer_to_one_request_is_not_counted() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer)
        for _ in range(3):
            await read_message(reader)
        writer.write(response(message_id=1) * 2 + response(message_id=2))
        await writer.drain()
        await reader.read()

    async with bare_server(converse) as port:
        with pytest.raises(TryAgain, match="another request than ours"):
            await store(peer(port), parts(3))


async def test_out_of_resources_lets_those_on_the_way_be_answered_and_spares_the_rest() -> None:
    seen: list[str] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer, window=2)
        for _ in range(2):
            await read_message(reader)
            seen.append("C-STORE")
        writer.write(response(message_id=1, status=0xA700) + response(message_id=2))
        await writer.drain()
        kind, _ = await read_pdu(reader)
        seen.append({5: "A-RELEASE"}.get(kind, str(kind)))
        writer.write(struct.pack(">BBLL", 6, 0, 4, 0))
        await writer.drain()

    async with bare_server(converse) as port:
        with pytest.raises(TryAgain) as caught:
            await store(peer(port), parts(6))

    assert caught.value.code == "A700"
    assert seen == ["C-STORE", "C-STORE", "A-RELEASE"]


async def test_a_large_study_takes_message_ids_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offer, "_MESSAGE_IDS", 100)
    numbers: list[int] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer)
        while True:
            kind, body = await read_pdu(reader)
            if kind != 4:
                return
            _, _, control = struct.unpack_from(">LBB", body)
            if control & 1:
                elements = command_set.decode(body[6:])
                numbers.append(command_set.number(elements, command_set.MESSAGE_ID) or 0)
            else:
                writer.write(response(message_id=numbers[-1]))

    part = instances.part()
    async with bare_server(converse) as port:
        await store(peer(port, 120), [part] * 203)

    assert numbers == [*range(1, 101), *range(1, 101), 1, 2, 3]


async def test_a_file_that_is_gone_when_its_turn_comes_fails_alone(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(instances.file(f"1.2.3.4.{number + 1}"))
    several = [Part(path.name, "application/dicom", path) for path in paths]

    def remove() -> None:
        paths[1].unlink()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        remove()  # its head has been read, its data set has not
        await accept_association(reader, writer, window=1)
        for place in (0, 2):
            await read_message(reader)
            writer.write(response(message_id=place + 1))
            await writer.drain()
        await reader.read()

    async with bare_server(converse) as port:
        with pytest.raises(Exception, match=r"1 of 3 .* is gone") as caught:
            await store(peer(port), several)

    assert caught.value.stored == ("1.2.3.4.1", "1.2.3.4.3")


async def test_a_large_data_set_arrives_whole_over_tls(certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    body = instances.data_set("1.2.3.4.1", tail=instances.element(0x7FE0, 0x10, b"OB", os.urandom(5 << 20)))
    part = Part("1.2.3.4.1", "application/dicom", instances.file("1.2.3.4.1", body=body))
    trusting = Tls.model_validate({"ca": {"file": str(chain)}})

    with serving(Scp(tls=context)) as scp:
        await store(Peer("127.0.0.1", scp.port, "PEER", "PONS", trusting, 60), [part])

    assert [each.data_set for each in scp.stored] == [body]


async def test_a_real_peer_that_knows_no_window_is_served_as_ever() -> None:
    with serving(Scp()) as scp:
        answer = await store(peer(scp.port), parts(40))

    assert answer.detail == "40 instances stored"
    assert [each.sop_instance_uid for each in scp.stored] == [f"1.2.3.4.{number}" for number in range(1, 41)]
