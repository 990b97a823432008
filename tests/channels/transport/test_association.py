"""C-STORE and C-ECHO towards peers that accept, refuse, stall, babble and hang up."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.dsutils import decode

from channels.transport.association import Peer, echo, store
from channels.transport.reencoding import Encoding
from channels.transport.upper_layer import associate
from engine.errors import Refused, TryAgain
from engine.model import Part
from tests.contract import instances
from tests.contract.instances import EXPLICIT, IMPLICIT, JPEG_2000, MR
from tests.contract.scp import (
    Conversation,
    Scp,
    accept_association,
    bare_server,
    read_message,
    response,
    serving,
)
from tests.peers.part10 import data_set_bytes


def peer(port: int, timeout: float = 10.0) -> Peer:
    return Peer("127.0.0.1", port, "PEER", "PONS", timeout=timeout)


@pytest.mark.parametrize(
    ("status", "code", "warning"),
    [
        (0x0000, "0000", ""),
        (0xB000, "B000", "1 of 1: B000 (coercion of data elements)"),
        (0xB006, "B006", "1 of 1: B006 (elements discarded)"),
        (0xB007, "B007", "1 of 1: B007 (data set does not match SOP class)"),
        # the same instance again: that an earlier attempt arrived is all we wanted to know
        (0x0111, "0111", "1 of 1: 0111 (the peer holds this instance already)"),
    ],
)
async def test_success_and_warnings_count_as_delivered(status: int, code: str, warning: str) -> None:
    with serving(Scp([status])) as scp:
        answer = await store(peer(scp.port), [instances.part()])

    assert (answer.code, answer.warning, answer.detail) == (code, warning, "1 instance stored")


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (0xA700, TryAgain, "out of resources"),
        (0xA702, TryAgain, "out of resources"),
        (0x0110, TryAgain, "processing failure"),
        (0x0210, TryAgain, "duplicate invocation"),  # the standard names no remedy: transient
        (0xA900, Refused, "data set does not match SOP class"),
        (0xC000, Refused, "cannot understand"),
        (0xC1FF, Refused, "cannot understand"),
        (0x0117, Refused, "invalid SOP Instance UID"),
        (0x0122, Refused, "SOP class not supported"),
        (0x0124, Refused, "not authorized"),
    ],
)
async def test_a_failure_is_transient_or_permanent_as_its_status_says_and_the_code_is_kept(
    status: int, error: type[TryAgain | Refused], words: str
) -> None:
    with serving(Scp([status])) as scp, pytest.raises(error) as caught:
        await store(peer(scp.port), [instances.part()])

    assert caught.value.code == f"{status:04X}"
    assert words in str(caught.value)
    assert "1 of 1 instances, first 1.2.3.4.1" in str(caught.value)


@pytest.mark.parametrize("filed", [False, True], ids=["from memory", "from disk"])
@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG_2000])
async def test_the_data_set_goes_out_byte_for_byte(tmp_path: Path, filed: bool, syntax: str) -> None:
    pixels = instances.element(0x7FE0, 0x0010, b"OB", os.urandom(300_000))  # more than one PDU
    body = instances.data_set("1.2.3.4.1", tail=pixels)
    content = instances.file("1.2.3.4.1", transfer_syntax_uid=syntax, body=body)
    path = tmp_path / "1.dcm"
    path.write_bytes(content)
    sent = Part("1.2.3.4.1", "application/dicom", path if filed else content)

    with serving(Scp(transfer_syntaxes=[syntax])) as scp:
        await store(peer(scp.port), [sent])

    assert [each.data_set for each in scp.requests] == [body]
    assert scp.requests[0].transfer_syntax_uid == syntax


@pytest.fixture(scope="session")
def real_files(real_study: Path) -> list[Path]:
    return sorted(real_study.glob("*.dcm"))


async def test_a_whole_study_goes_over_one_association(real_files: list[Path]) -> None:
    parts = [Part(path.stem, "application/dicom", path) for path in real_files]

    with serving(Scp()) as scp:
        answer = await store(peer(scp.port, timeout=60), parts)

    assert answer.detail == "260 instances stored"
    assert scp.associations == 1
    assert [each.data_set for each in scp.requests] == [
        data_set_bytes(path.read_bytes()) for path in real_files
    ]


async def test_our_own_objects_are_reencoded_for_a_peer_that_takes_implicit_vr_alone() -> None:
    with serving(Scp(transfer_syntaxes=[IMPLICIT])) as scp:
        await store(peer(scp.port), [instances.report()], encoding=Encoding.VALUE_REPRESENTATION)

    [stored] = scp.requests
    received = decode(BytesIO(stored.data_set), is_implicit_vr=True, is_little_endian=True)
    source = dcmread(BytesIO(instances.report().read()))
    assert stored.transfer_syntax_uid == IMPLICIT
    assert received.to_json_dict() == source.to_json_dict()


async def test_our_own_objects_go_as_they_are_filed_where_the_peer_takes_both_encodings() -> None:
    part = instances.report()
    with serving(Scp(transfer_syntaxes=[IMPLICIT, EXPLICIT])) as scp:
        await store(peer(scp.port), [part], encoding=Encoding.VALUE_REPRESENTATION)

    assert [each.data_set for each in scp.requests] == [data_set_bytes(part.read())]


@pytest.mark.parametrize(
    ("offered", "words"),
    [
        ({"transfer_syntax_uid": JPEG_2000}, "JPEG 2000"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2"}, "CT Image Storage"),
    ],
)
async def test_what_the_peer_does_not_accept_is_refused_by_name_after_the_rest_was_stored(
    offered: dict[str, str], words: str
) -> None:
    parts = [instances.part(1), instances.part(2, **offered), instances.part(3)]

    with serving(Scp()) as scp, pytest.raises(Refused) as caught:
        await store(peer(scp.port), parts)

    assert caught.value.code == "no context"
    assert words in str(caught.value)
    assert "not accepted" in str(caught.value)
    assert "1 of 3 instances, first 1.2.3.4.2" in str(caught.value)
    assert [each.sop_instance_uid for each in scp.stored] == ["1.2.3.4.1", "1.2.3.4.3"]


async def test_a_compressed_image_not_taken_as_it_is_is_refused_with_the_consequence() -> None:
    parts = [instances.part(1), instances.part(2, transfer_syntax_uid=JPEG_2000)]

    with serving(Scp()) as scp, pytest.raises(Refused, match="cannot be sent without changing its encoding"):
        await store(peer(scp.port), parts)


async def test_a_peer_out_of_resources_is_spared_the_rest() -> None:
    with serving(Scp([0, 0xA700])) as scp, pytest.raises(TryAgain):
        await store(peer(scp.port), [instances.part(number) for number in range(1, 5)])

    assert [each.sop_instance_uid for each in scp.requests] == ["1.2.3.4.1", "1.2.3.4.2"]


async def test_one_failing_instance_does_not_keep_the_others_back() -> None:
    # the permanent failure of one is not final while another may still succeed
    with serving(Scp([0xC000, 0x0110, 0])) as scp, pytest.raises(TryAgain) as caught:
        await store(peer(scp.port), [instances.part(number) for number in range(1, 4)])

    assert caught.value.code == "0110"
    assert [each.sop_instance_uid for each in scp.stored] == ["1.2.3.4.3"]


async def test_more_sop_classes_than_one_association_has_contexts_take_two() -> None:
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts[:130]]
    parts = [instances.part(number, sop_class_uid=uid) for number, uid in enumerate(classes)]

    with serving(Scp(sop_classes=classes)) as scp:
        answer = await store(peer(scp.port), parts)

    assert answer.detail == "130 instances stored"
    assert scp.associations == 2


async def test_a_permanent_rejection_is_refused_with_the_peers_reason() -> None:
    with serving(Scp(require_called=True)) as scp, pytest.raises(Refused) as caught:
        await store(
            Peer("127.0.0.1", scp.port, "NOBODY", "PONS", timeout=10),
            [instances.part()],
        )

    assert caught.value.code == "rejected 1/1/7"
    assert "called AE title not recognized" in str(caught.value)


async def test_a_transient_rejection_is_tried_again() -> None:
    local_limit_exceeded = struct.pack(">BBLBBBB", 3, 0, 4, 0, 2, 3, 2)

    async with bare_server(_says(local_limit_exceeded, after_negotiation=False)) as port:
        with pytest.raises(TryAgain) as caught:
            await store(peer(port), [instances.part()])

    assert caught.value.code == "rejected 2/3/2"
    assert "local limit exceeded" in str(caught.value)


async def test_nobody_listening_is_tried_again(free_port: Callable[[], int]) -> None:
    with pytest.raises(TryAgain) as caught:
        await store(peer(free_port()), [instances.part()])

    assert caught.value.code == "connection"


async def test_a_name_that_does_not_resolve_is_tried_again() -> None:
    nowhere = Peer("peer.invalid", 104, "PEER", "PONS", timeout=10)

    with pytest.raises(TryAgain) as caught:
        await store(nowhere, [instances.part()])

    assert caught.value.code in ("connection", "timeout")


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _silent_after_negotiation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await accept_association(reader, writer)
    await read_message(reader)
    await asyncio.sleep(60)


async def _reads_nothing_after_negotiation(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await accept_association(reader, writer)
    await asyncio.sleep(60)


async def _drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # one byte at a time: no single read is ever late, the attempt as a whole is
    writer.write(struct.pack(">BBL", 2, 0, 1000))
    while True:
        writer.write(b"\0")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "converse", [_silent, _silent_after_negotiation, _reads_nothing_after_negotiation, _drips]
)
async def test_a_slow_peer_costs_no_more_than_the_timeout(converse: Conversation) -> None:
    large = instances.element(0x7FE0, 0x0010, b"OB", bytes(16 << 20))  # more than socket buffers hold
    content = instances.file("1.2.3.4.1", body=instances.data_set("1.2.3.4.1", tail=large))

    async with bare_server(converse) as port:
        started = time.monotonic()
        with pytest.raises(TryAgain) as caught:
            await store(peer(port, timeout=0.5), [Part("1.2.3.4.1", "application/dicom", content)])
        elapsed = time.monotonic() - started

    assert caught.value.code == "timeout"
    assert 0.5 <= elapsed < 5


def _says(*pdus: bytes, after_negotiation: bool = True) -> Conversation:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if after_negotiation:
            await accept_association(reader, writer)
            await read_message(reader)
        for pdu in pdus:
            writer.write(pdu)
        await writer.drain()

    return converse


ABORT = struct.pack(">BBLBBBB", 7, 0, 4, 0, 0, 2, 0)


@pytest.mark.parametrize(
    ("converse", "code"),
    [
        (_says(after_negotiation=False), "closed"),  # hangs up at once
        (_says(), "closed"),  # hangs up instead of answering
        (_says(ABORT), "aborted"),
        (_says(ABORT, after_negotiation=False), "aborted"),
        (_says(b"HTTP/1.1 400 Bad Request\r\n\r\n", after_negotiation=False), "protocol"),
        (_says(struct.pack(">BBL", 4, 0, 0xFFFFFFFF)), "protocol"),  # announces 4 GB
        (_says(struct.pack(">BBL", 2, 0, 70) + b"\xff" * 70, after_negotiation=False), "protocol"),
        (_says(struct.pack(">BBLLBB", 4, 0, 6, 400, 1, 3)), "protocol"),  # a value longer than its PDU
        (_says(struct.pack(">BBLLBB", 4, 0, 6, 2, 1, 2)), "protocol"),  # a data set instead of a response
        (_says(struct.pack(">BBLL", 5, 0, 4, 0)), "released"),
        (_says(response(message_id=7)), "protocol"),  # the answer to another request
        (_says(response(sop_instance_uid="1.2.3.4.99")), "protocol"),  # the answer for another instance
        (_says(response(field=0x8030)), "protocol"),  # a C-ECHO response
        (_says(struct.pack(">BBLLBB", 4, 0, 9, 5, 1, 3) + b"abc"), "protocol"),  # no command set
    ],
)
async def test_what_is_no_answer_to_our_request_is_never_counted(converse: Conversation, code: str) -> None:
    async with bare_server(converse) as port:
        with pytest.raises(TryAgain) as caught:
            await store(peer(port), [instances.part()])

    assert caught.value.code == code


async def test_an_answer_to_our_request_is_counted_even_if_the_peer_then_hangs_up() -> None:
    async with bare_server(_says(response(sop_instance_uid="1.2.3.4.1"))) as port:
        answer = await store(peer(port), [instances.part()])

    assert answer.code == "0000"


async def test_an_abort_in_the_middle_of_a_study_is_tried_again() -> None:
    with serving(Scp(abort_at=1)) as scp, pytest.raises(TryAgain) as caught:
        await store(peer(scp.port), [instances.part(number) for number in range(1, 4)])

    assert caught.value.code in ("aborted", "closed")
    assert len(scp.stored) == 1


async def test_cancellation_aborts_the_association() -> None:
    with serving(Scp(script=["stall"])) as scp:
        task = asyncio.create_task(store(peer(scp.port), [instances.part()]))
        assert await asyncio.to_thread(scp.holding.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        scp.let_go()
        assert await asyncio.to_thread(scp.aborted.wait, 10)


async def test_small_stores_do_not_wait_for_delayed_acknowledgements() -> None:
    with serving(Scp()) as scp:
        async with associate(peer(scp.port), [(MR, EXPLICIT)]) as association:
            connection = association._writer.get_extra_info("socket")
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_large_file_is_streamed_in_constant_memory(tmp_path: Path) -> None:
    size = 256 << 20
    path = tmp_path / "large.dcm"
    head = instances.file("1.2.3.4.1", body=b"") + struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OB", size)
    path.write_bytes(head)
    os.truncate(path, len(head) + size)
    received = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer)
        received.append(await read_message(reader))
        writer.write(response())
        await writer.drain()

    async with bare_server(converse) as port:
        tracemalloc.start()
        await store(peer(port, timeout=60), [Part("1.2.3.4.1", "application/dicom", path)])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert received == [size + 12]
    assert peak < 32 << 20


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no DICOM file"),
        (b"\0" * 128 + b"DICM", "lacks (0002,0002), (0002,0003), (0002,0010)"),
        (instances.file("1.2.3.4.1", body=b""), "no data set"),
        (b"\0" * 128 + b"DICM" + struct.pack("<HH2sxxI", 2, 1, b"OB", 0xFFFFFFF0), "malformed"),
    ],
)
async def test_what_is_no_dicom_file_is_refused_before_anybody_is_called(content: bytes, words: str) -> None:
    with serving(Scp()) as scp, pytest.raises(Refused) as caught:
        await store(peer(scp.port), [Part("1.2.3.4.1", "application/dicom", content)])

    assert words in str(caught.value)
    assert scp.associations == 0


async def test_a_file_that_has_gone_is_refused_without_telling_where_it_was(tmp_path: Path) -> None:
    with serving(Scp()) as scp, pytest.raises(Refused) as caught:
        await store(peer(scp.port), [Part("1.2.3.4.1", "application/dicom", tmp_path / "gone.dcm")])

    assert str(tmp_path) not in str(caught.value)


async def test_nothing_to_send_is_not_called_delivered() -> None:
    with pytest.raises(Refused):
        await store(peer(1), [])


async def test_echo_is_answered_and_a_silent_peer_is_told_from_a_living_one() -> None:
    with serving(Scp()) as scp:
        await echo(peer(scp.port))
    async with bare_server(_silent) as port:
        with pytest.raises(TryAgain) as caught:
            await echo(peer(port, timeout=0.3))

    assert scp.echoes == 1
    assert caught.value.code == "timeout"


@pytest.mark.parametrize(
    ("script", "code"), [("close", "closed"), ("stall", "timeout")], ids=["lost", "too slow"]
)
async def test_without_an_answer_the_instance_may_have_arrived(script: str, code: str) -> None:
    with serving(Scp(script=[script])) as scp:
        with pytest.raises(TryAgain) as caught:
            await store(peer(scp.port, timeout=2), [instances.part()])
        scp.let_go()

    assert (caught.value.code, caught.value.uncertain) == (code, True)


async def test_what_was_never_offered_has_not_arrived() -> None:
    async def says_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with bare_server(says_nothing) as port:
        with pytest.raises(TryAgain) as caught:
            await store(peer(port, timeout=0.5), [instances.part()])

    assert (caught.value.code, caught.value.uncertain) == ("timeout", False)


async def test_an_answered_failure_is_certain_unless_another_instance_was_taken() -> None:
    with serving(Scp([0xA700, 0, 0x0110])) as scp:
        with pytest.raises(TryAgain) as alone:
            await store(peer(scp.port), [instances.part()])
        with pytest.raises(TryAgain) as beside:
            await store(peer(scp.port), [instances.part(1), instances.part(2)])

    assert (alone.value.uncertain, alone.value.of_payload) == (False, False)
    assert (beside.value.uncertain, beside.value.of_payload) == (True, True)


async def test_a_refusal_tells_what_the_peer_has_taken_all_the_same() -> None:
    with serving(Scp([0, 0xC000])) as scp, pytest.raises(Refused) as caught:
        await store(peer(scp.port), [instances.part(1), instances.part(2)])

    assert caught.value.stored == ("1.2.3.4.1",)
