"""C-STORE and C-ECHO against senders nobody here wrote, and against raw bytes on the socket."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLosslessSV1
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu import A_ABORT_RQ

from channels.inbound.c_store import STATUS, is_storage
from engine.channel import Landing, Wait
from engine.errors import ConfigurationError, RejectedReason
from engine.model import Arrival, Receipt
from examples.demo.senders import held_reactor
from tests.channels.inbound.conftest import EITHER_WAY
from tests.channels.inbound.dimse_wire import (
    COMMAND,
    EXPLICIT,
    LAST,
    P_DATA,
    Wire,
    command,
    pdu,
    request,
    status,
    store_fields,
    value,
)
from tests.peers import dcmtk
from tests.peers.part10 import data_set_bytes

PRIVATE = "1.3.12.2.1107.5.9.1"  # Siemens CSA Non-Image Storage
VERIFICATION = "1.2.840.10008.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
MUCH = 1_000_000  # bytes, half of which are more than is held in memory


async def associate(
    port: int,
    *contexts: tuple[str, list[str]],
    calling: str = "STM_PACS",
    called: str = "PONS",
    **options: Any,
) -> Association:
    entity = AE(ae_title=calling)
    for abstract_syntax, transfer_syntaxes in contexts or ((MR, [ExplicitVRLittleEndian]),):
        entity.add_requested_context(abstract_syntax, transfer_syntaxes)
    return await asyncio.to_thread(entity.associate, "127.0.0.1", port, ae_title=called, **options)


async def send(association: Association, content: bytes) -> Dataset:
    dataset = pydicom.dcmread(BytesIO(content))

    def store() -> Dataset:
        with held_reactor(association):
            return association.send_c_store(dataset)

    return await asyncio.to_thread(store)


async def store(port: int, content: bytes, **options: Any) -> Dataset:
    read = pydicom.dcmread(BytesIO(content))
    context = (str(read.SOPClassUID), [str(read.file_meta.TransferSyntaxUID)])
    association = await associate(port, context, **options)
    assert association.is_established
    answer = await send(association, content)
    await asyncio.to_thread(association.release)
    return answer


# ── senders nobody here wrote ───────────────────────────────────────────────────────────────────


@pytest.mark.peers
async def test_echoscu_is_answered(listening: Callable[..., Any]) -> None:
    async with listening() as port:
        sent = await asyncio.to_thread(dcmtk.echoscu, port, calling="STM_PACS")
    assert sent.exit_status == 0, sent.output


def two_folders(real_study: Path, tmp_path: Path) -> tuple[list[Path], tuple[Path, Path]]:
    files = sorted(real_study.iterdir())[:60]
    halves = tmp_path / "one", tmp_path / "two"
    for folder, part in zip(halves, (files[:30], files[30:]), strict=True):
        folder.mkdir()
        for file in part:
            shutil.copy(file, folder)
    return files, halves


@pytest.mark.peers
@EITHER_WAY
async def test_storescu_and_dcmsend_at_once_arrive_byte_for_byte(
    listening: Callable[..., Any], house: Any, real_study: Path, tmp_path: Path
) -> None:
    files, halves = two_folders(real_study, tmp_path)
    async with listening() as port:
        sent = await asyncio.gather(
            asyncio.to_thread(dcmtk.storescu, port, [halves[0]], calling="STM_PACS"),
            asyncio.to_thread(dcmtk.dcmsend, port, [halves[1]], calling="STM_PACS"),
        )
    assert [one.exit_status for one in sent] == [0, 0], sent
    assert len(sent[0].acknowledged) == 30
    # dcmtk rewrites what it sends (group lengths, padding), so the elements are compared, not the bytes
    assert {str(read.SOPInstanceUID): read for read in map(pydicom.dcmread, house.stored)} == {
        str(read.SOPInstanceUID): read for read in map(pydicom.dcmread, files)
    }


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "options", "transfer_syntax_uid"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", ("-xs",), "1.2.840.10008.1.2.4.70"),  # JPEG lossless SV1
        ("SC_rgb_dcmtk_+eb+cr.dcm", ("-xy",), "1.2.840.10008.1.2.4.50"),  # JPEG baseline
        ("MR_small_jp2klossless.dcm", ("-xv",), "1.2.840.10008.1.2.4.90"),  # JPEG 2000 lossless
        ("MR_small_jpeg_ls_lossless.dcm", ("-xt",), "1.2.840.10008.1.2.4.80"),  # JPEG-LS lossless
        ("MR_small_RLE.dcm", ("-xr",), "1.2.840.10008.1.2.5"),
        ("image_dfl.dcm", ("-xd",), "1.2.840.10008.1.2.1.99"),
        ("MR_small_bigendian.dcm", ("-xb",), "1.2.840.10008.1.2.2"),
        ("MR_small_implicit.dcm", ("-xi",), "1.2.840.10008.1.2"),
    ],
)
async def test_transfer_syntaxes_arrive_as_sent(
    listening: Callable[..., Any], house: Any, name: str, options: tuple[str, ...], transfer_syntax_uid: str
) -> None:
    source = Path(pydicom.__file__).parent / "data" / "test_files" / name
    async with listening() as port:
        sent = await asyncio.to_thread(dcmtk.storescu, port, [source], calling="STM_PACS", options=options)
    assert list(sent.statuses.values()) == ["Success"], sent.output
    (stored,) = house.stored
    read = pydicom.dcmread(stored)
    assert read.file_meta.TransferSyntaxUID == transfer_syntax_uid
    assert read.PixelData == pydicom.dcmread(source).PixelData


@pytest.mark.peers
@pytest.mark.parametrize(
    ("calling", "called", "reason"),
    [
        ("STM_PACS", "SOMEBODY", "Called AE Title Not Recognized"),
        ("NOBODY", "PONS", "Calling AE Title Not Recognized"),
        ("NOBODY", "SOMEBODY", "Called AE Title Not Recognized"),
    ],
)
async def test_unknown_titles_are_rejected_with_their_reason(
    listening: Callable[..., Any], house: Any, calling: str, called: str, reason: str
) -> None:
    async with listening() as port:
        sent = await asyncio.to_thread(dcmtk.echoscu, port, calling=calling, called=called)
    assert sent.exit_status != 0
    assert "Rejected Permanent, Source: Service User" in sent.output
    assert reason in sent.output
    assert house.open_sessions == 0


# ── negotiation ─────────────────────────────────────────────────────────────────────────────────


# Rejections are read off the wire: pynetdicom's own SCU sometimes misses one that comes at once.


async def test_an_address_of_no_site_is_rejected_without_a_reason(
    listening: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as port:
        with await asyncio.to_thread(Raw, port, source="127.0.0.9") as raw:
            assert raw.rejection == (1, 1, 1)
    (line,) = [record for record in caplog.records if record.getMessage() == "unknown peer"]
    assert line.__dict__["pons"]["unknown"] == "address"
    assert line.__dict__["pons"]["remote_address"] == "127.0.0.9"


async def test_one_association_too_many_is_told_to_come_back(listening: Callable[..., Any]) -> None:
    async with listening(max_associations=1) as port:
        with await open_raw(port) as first:
            with await asyncio.to_thread(Raw, port) as second:
                assert second.rejection == (2, 3, 2)
            first.socket.sendall(b"\x05\0\0\0\0\x04\0\0\0\0")
            assert (await asyncio.to_thread(first.read))[:1] == b"\x06"
        with await open_raw(port) as third:
            assert third.answer[:1] == b"\x02"


async def test_storage_contexts_are_accepted_as_proposed_and_others_are_not(
    listening: Callable[..., Any],
) -> None:
    proposed = [
        (VERIFICATION, [ImplicitVRLittleEndian]),
        (MR, [JPEGLosslessSV1, ExplicitVRLittleEndian]),  # the sender's first wins
        (MR, [ImplicitVRLittleEndian]),
        (PRIVATE, [ExplicitVRLittleEndian]),
        (MR, ["1.2.840.113619.5.2"]),  # a private transfer syntax
        ("1.2.840.10008.5.1.4.1.1.9999", [ExplicitVRLittleEndian]),  # storage, not invented yet
        ("1.2.840.10008.1.20.1", [ExplicitVRLittleEndian]),  # Storage Commitment
        ("1.2.840.10008.5.1.4.1.2.2.1", [ImplicitVRLittleEndian]),  # Study Root FIND
        ("1.2.840.10008.5.1.4.1.2.2.2", [ImplicitVRLittleEndian]),  # Study Root MOVE
        ("1.2.840.10008.5.1.1.9", [ImplicitVRLittleEndian]),  # Basic Grayscale Print
        ("1.2.840.10008.1.20.2", [ImplicitVRLittleEndian]),  # Storage Commitment Pull Model, retired
    ]
    async with listening() as port:
        association = await associate(port, *proposed)
        accepted = [(cx.abstract_syntax, cx.transfer_syntax) for cx in association.accepted_contexts]
        rejected = {cx.abstract_syntax: cx.result for cx in association.rejected_contexts}
        await asyncio.to_thread(association.release)
    assert accepted == [(syntax, [UID(first)]) for syntax, (first, *_) in proposed[:7]]
    assert rejected == {syntax: 3 for syntax, _ in proposed[7:]}


@pytest.mark.parametrize(
    ("abstract_syntax", "served"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", True),  # CT
        ("1.2.840.10008.5.1.4.1.1.88.34", True),  # Comprehensive 3D SR
        ("1.2.840.10008.5.1.4.1.1.104.1", True),  # Encapsulated PDF
        ("1.2.840.10008.5.1.4.34.7", True),  # RT Beams Delivery Instruction
        ("1.2.840.10008.5.1.1.29", True),  # Hardcopy Grayscale Image, retired
        ("1.2.826.0.1.3680043.2.1", True),  # private
        ("1.2.840.10008.5.1.4.1.1.200.4", False),  # Defined Procedure Protocol FIND, in the storage arc
        ("1.2.840.10008.5.1.4.31", False),  # Modality Worklist
        ("1.2.840.10008.1.3.10", False),  # Media Storage Directory
        ("1.2.840.10008.1.20.1", False),  # Storage Commitment Push Model
        ("1.2.840.10008.3.1.2.3.3", False),  # Modality Performed Procedure Step
        ("", False),
    ],
)
def test_what_counts_as_storage(abstract_syntax: str, served: bool) -> None:
    assert is_storage(abstract_syntax) is served


# ── one instance ────────────────────────────────────────────────────────────────────────────────


async def test_the_file_meta_is_ours_and_the_data_set_is_theirs(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    content = instance(7, bulk=300_000)
    async with listening() as port:
        answer = await store(port, content)
    assert answer.Status == 0x0000
    (stored,) = house.stored
    meta = pydicom.dcmread(stored).file_meta
    assert meta.MediaStorageSOPClassUID == MR
    assert meta.MediaStorageSOPInstanceUID == "1.2.3.1.7"
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert meta.SourceApplicationEntityTitle == "STM_PACS"
    assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("STM_PACS", "PONS")
    assert meta.ImplementationClassUID.startswith("2.25.")
    assert data_set_bytes(stored.read_bytes()) == data_set_bytes(content)
    group_length = int.from_bytes(stored.read_bytes()[140:144], "little")
    assert stored.read_bytes()[144 + group_length :] == data_set_bytes(content)


async def test_a_private_sop_class_is_stored(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async with listening() as port:
        answer = await store(port, instance(SOPClassUID=PRIVATE))
    assert answer.Status == 0x0000
    assert pydicom.dcmread(house.stored[0]).SOPClassUID == PRIVATE


async def test_an_encapsulated_instance_is_stored_as_sent(listening: Callable[..., Any], house: Any) -> None:
    content = (Path(pydicom.__file__).parent / "data/test_files/SC_rgb_dcmtk_+eb+cr.dcm").read_bytes()
    async with listening() as port:
        answer = await store(port, content)
    assert answer.Status == 0x0000
    assert pydicom.dcmread(house.stored[0]).file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert data_set_bytes(house.stored[0].read_bytes()) == data_set_bytes(content)


@EITHER_WAY
async def test_the_same_instance_again_is_success_and_another_content_is_a_duplicate(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async with listening() as port:
        assert (await store(port, instance(1))).Status == 0x0000
        assert (await store(port, instance(1))).Status == 0x0000
        conflict = await store(port, instance(1, ImageComments="changed"))
    assert conflict.Status == 0x0111
    assert len(house.stored) == 1


# What is wrong with an instance, and what the sender is told (PS3.4 table B.2-1).
BAD: list[tuple[str, dict[str, Any], int]] = [
    ("no study UID", {"StudyInstanceUID": ""}, 0xA900),
    ("an image without pixels", {"BitsAllocated": 16}, 0xC000),
    ("larger than an instance may be", {"bulk": 5 << 20}, 0xC000),
]


@pytest.mark.parametrize(("elements", "status"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_a_bad_instance_is_refused_and_the_next_one_is_stored(
    listening: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    elements: dict[str, Any],
    status: int,
) -> None:
    async with listening() as port:
        association = await associate(port)
        answer = await send(association, instance(1, **elements))
        assert answer.Status == status
        assert 0 < len(answer.ErrorComment) <= 64
        assert "Doe" not in answer.ErrorComment
        assert (house.stored, house.landing) == ([], [])
        assert (await send(association, instance(2))).Status == 0x0000
        await asyncio.to_thread(association.release)
    assert len(house.stored) == 1


def test_every_reason_has_its_status() -> None:
    assert set(STATUS) == set(RejectedReason)
    assert {code >> 12 for code in STATUS.values()} <= {0xA, 0xC, 0x0}
    assert 0xA700 not in STATUS.values()  # that one asks for another try


@EITHER_WAY
async def test_a_full_disk_asks_for_another_try(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    house.free[0] = 0
    async with listening() as port:
        answer = await store(port, instance(1, bulk=300_000))
    assert answer.Status == 0xA700
    assert house.stored == []


@EITHER_WAY
async def test_a_draining_engine_asks_for_another_try(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    house.intake.drain()
    async with listening() as port:
        assert (await store(port, instance())).Status == 0xA700


class FailingIntake:
    """A fault: a store that breaks."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.commitments = real.commitments
        self.left: list[str] = []
        self.close = real.close

    def land(self) -> Landing:
        landing: Landing = self._real.land()
        return landing

    def accept_now(self, arrival: Arrival, wait: Wait) -> Receipt:
        raise RuntimeError("Doe^Jane broke the database")

    def leave(self, session: str) -> None:
        self.left.append(session)


class HangingIntake(FailingIntake):
    """A fault: a store that never answers."""

    def accept_now(self, arrival: Arrival, wait: Wait) -> Receipt:
        return wait(Future())


async def test_a_store_that_hangs_does_not_keep_the_listener(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    house.intake = HangingIntake(house.intake)
    manager = listening(grace="200ms")
    port = await manager.__aenter__()
    with await open_raw(port) as raw:
        raw.c_store()
        content = data_set_bytes(instance(1, bulk=MUCH))
        raw.begin(content[:-50])
        raw.data(2, content[-50:])
        await eventually(lambda: bool(house.landing))
        async with asyncio.timeout(8):
            await manager.__aexit__(None, None, None)
    assert (house.landing, house.stored) == ([], [])
    assert len(house.intake.left) == 1


async def test_a_defect_is_told_apart_and_leaks_nothing(
    listening: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    house.intake = failing = FailingIntake(house.intake)
    async with listening() as port:
        answer = await store(port, instance())
    assert answer.Status == 0x0110
    assert "Doe" not in answer.ErrorComment
    assert house.landing == []
    assert len(failing.left) == 1
    (line,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert line.__dict__["pons"]["error"] == "RuntimeError"
    assert "Doe" not in str(line.__dict__["pons"]) + line.getMessage()


# ── associations that end badly, spoken in raw bytes ────────────────────────────────────────────


class Raw(Wire):
    """An SCU that speaks bytes, with one context for MR images."""

    def __init__(self, port: int, *, source: str = "127.0.0.1") -> None:
        super().__init__(port, source=source, asking=request({1: (MR, EXPLICIT)}))

    @property
    def rejection(self) -> tuple[int, int, int]:
        """Result, source, reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
        assert self.answer[:1] == b"\x03", "the association was not rejected"
        return self.answer[7], self.answer[8], self.answer[9]

    def data(self, control: int, content: bytes, context_id: int = 1) -> None:
        self.write(pdu(P_DATA, value(context_id, control, content)))

    def begin(self, content: bytes) -> None:
        """Data that goes on, in pieces as long as agreed: more than is held in memory lands in a file."""
        for start in range(0, len(content), 100_000):
            self.data(0, content[start : start + 100_000])

    def c_store(self, sop_instance_uid: str = "1.2.3.1.1", sop_class_uid: str = MR) -> None:
        self.data(COMMAND | LAST, command(store_fields(sop_instance_uid, sop_class_uid)))

    def status(self) -> int | None:
        """Of the response that comes now."""
        return status(self.read())


async def open_raw(port: int) -> Raw:
    raw = await asyncio.to_thread(Raw, port)
    assert raw.answer[:1] == b"\x02", "the association was not accepted"
    return raw


Ending = Callable[[Raw], None]


def abort(raw: Raw) -> None:
    pdu = A_ABORT_RQ()
    pdu.source, pdu.reason_diagnostic = 0, 0
    raw.socket.sendall(pdu.encode())


ENDINGS: list[tuple[str, Ending]] = [
    ("abort", abort),
    ("close", lambda raw: raw.socket.close()),
    ("reset", lambda raw: raw.reset()),
    ("half a PDU, then close", lambda raw: (raw.socket.sendall(b"\x04\0\0\0\xff\0"), raw.socket.close())[0]),
    ("another command inside the data set", lambda raw: raw.c_store("1.2.3.1.2")),
    ("a release inside the data set", lambda raw: raw.socket.sendall(b"\x05\0\0\0\0\x04\0\0\0\0")),
    ("an unknown PDU", lambda raw: raw.socket.sendall(b"\x42\0\0\0\0\x04\0\0\0\0")),
    ("a PDU longer than agreed", lambda raw: raw.socket.sendall(b"\x04\0\xff\xff\xff\xff")),
    ("a value longer than its PDU", lambda raw: raw.socket.sendall(b"\x04\0\0\0\0\x06\x7f\0\0\0\x01\x02")),
]


@pytest.mark.parametrize(
    ("processes", "ending"),
    [(1, row[1]) for row in ENDINGS] + [(2, row[1]) for row in ENDINGS[:4]],
    ids=[row[0] for row in ENDINGS] + [f"{row[0]}, workers" for row in ENDINGS[:4]],
    indirect=["processes"],
)
async def test_an_instance_that_breaks_off_leaves_nothing(
    listening: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    ending: Ending,
) -> None:
    first, second = data_set_bytes(instance(1)), data_set_bytes(instance(2, bulk=MUCH))
    async with listening() as port:
        with await open_raw(port) as raw:
            raw.c_store("1.2.3.1.1")
            raw.data(2, first)
            assert await asyncio.to_thread(raw.status) == 0x0000
            assert house.open_sessions == 1
            raw.c_store("1.2.3.1.2")
            raw.begin(second[: len(second) // 2])
            await eventually(lambda: bool(house.landing))
            await asyncio.to_thread(ending, raw)
            await eventually(lambda: not house.open_sessions)
            assert house.landing == []
        assert (await store(port, instance(3))).Status == 0x0000
    assert [path.name.split("-")[0] for path in house.stored] == ["1.2.3.1.1", "1.2.3.1.3"]


async def test_a_silent_peer_is_aborted(
    listening: Callable[..., Any], house: Any, eventually: Callable[..., Any]
) -> None:
    """Before its request, between messages, inside a message: each has its own patience."""
    async with listening(acse_timeout="200ms", network_timeout="200ms", dimse_timeout="200ms") as port:
        mute = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), 10)
        assert (await asyncio.to_thread(mute.recv, 10))[:1] == b"\x07"
        mute.close()
        with await open_raw(port) as raw:
            assert (await asyncio.to_thread(raw.read))[:1] == b"\x07"
        with await open_raw(port) as raw:
            raw.c_store()
            assert (await asyncio.to_thread(raw.read))[:1] == b"\x07"
        await eventually(lambda: not house.landing)
    assert house.open_sessions == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x01\0\0\0\0\x10" + bytes(16),
        b"\x01\0\x7f\xff\xff\xff",
        bytes(80),
    ],
    ids=["http", "short request", "endless request", "zeros"],
)
async def test_garbage_instead_of_a_request_is_aborted(listening: Callable[..., Any], garbage: bytes) -> None:
    def talk(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(garbage)
            return connection.recv(10)

    async with listening() as port:
        assert (await asyncio.to_thread(talk, port))[:1] == b"\x07"
        association = await associate(port)
        assert association.is_established
        await asyncio.to_thread(association.release)


@EITHER_WAY
async def test_an_announcement_that_does_not_match_is_refused(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    content = data_set_bytes(instance(1))
    async with listening() as port:
        with await open_raw(port) as raw:
            raw.c_store("1.2.3.1.99")  # the data set says 1.2.3.1.1
            raw.data(2, content)
            assert await asyncio.to_thread(raw.status) == 0xA900
            raw.c_store("1.2.3.1.1", sop_class_uid="1.2.840.10008.5.1.4.1.1.2")  # not the context's class
            raw.data(2, content)
            assert await asyncio.to_thread(raw.status) == 0x0122
            raw.c_store("1.2.3.1.1")
            raw.data(2, b"\xff" * 500)  # no data set at all
            assert await asyncio.to_thread(raw.status) == 0xC000
            assert house.stored == []
            raw.c_store("1.2.3.1.1")
            for start in range(0, len(content), 7):  # in the smallest pieces
                raw.data(2 if start + 7 >= len(content) else 0, content[start : start + 7])
            assert await asyncio.to_thread(raw.status) == 0x0000
    assert data_set_bytes(house.stored[0].read_bytes()) == content


async def test_another_operation_is_not_recognised(listening: Callable[..., Any]) -> None:
    async with listening() as port:
        association = await associate(port, (PRIVATE, [ImplicitVRLittleEndian]))
        query = Dataset()
        query.PatientID = "*"
        with await open_raw(port) as raw:
            command = struct.pack("<HHIH", 0, 0x0100, 2, 0x0020) + struct.pack("<HHIH", 0, 0x0110, 2, 9)
            command += struct.pack("<HHIH", 0, 0x0800, 2, 1)
            raw.data(3, command)
            raw.data(2, b"\x10\0\x20\0LO\x02\0* ")
            assert await asyncio.to_thread(raw.status) == 0x0211
        await asyncio.to_thread(association.release)


# ── the end of the listener, TLS, configuration ─────────────────────────────────────────────────


@EITHER_WAY
async def test_a_c_store_under_way_may_finish_before_the_listener_is_gone(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    content = data_set_bytes(instance(1, bulk=MUCH))
    manager = listening(grace="60s")
    port = await manager.__aenter__()
    idle = await open_raw(port)
    busy = await open_raw(port)
    busy.c_store()
    busy.begin(content[: len(content) // 2])
    await eventually(lambda: bool(house.landing))
    leaving = asyncio.create_task(manager.__aexit__(None, None, None))
    assert (await asyncio.to_thread(idle.read))[:1] == b"\x07"  # the idle one goes at once
    idle.socket.close()
    with pytest.raises(OSError, match=r"refused|reset"):
        await asyncio.to_thread(Raw, port)
    busy.begin(content[len(content) // 2 : -50])
    busy.data(2, content[-50:])
    assert await asyncio.to_thread(busy.status) == 0x0000
    assert (await asyncio.to_thread(busy.read))[:1] == b"\x07"
    busy.socket.close()
    await leaving
    assert len(house.stored) == 1
    assert house.open_sessions == 0


@EITHER_WAY
async def test_a_c_store_that_never_finishes_does_not_keep_the_listener(
    listening: Callable[..., Any], house: Any, eventually: Callable[..., Any]
) -> None:
    manager = listening(grace="200ms")
    port = await manager.__aenter__()
    raw = await open_raw(port)
    raw.c_store()
    raw.begin(bytes(MUCH))
    await eventually(lambda: bool(house.landing))
    async with asyncio.timeout(8):
        await manager.__aexit__(None, None, None)
    assert (house.landing, house.stored, house.open_sessions) == ([], [], 0)
    raw.socket.close()


@pytest.fixture
def key_and_certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Self-signed, for 127.0.0.1."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=pons"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    return key, certificate


@EITHER_WAY
async def test_tls_is_spoken_where_it_is_configured(
    listening: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    key_and_certificate: tuple[Path, Path],
) -> None:
    key, certificate = key_and_certificate
    client = ssl.create_default_context(cafile=str(certificate))
    tls = {"certificate": {"file": certificate}, "key": {"file": key}}
    async with listening(tls=tls, acse_timeout="2s") as port:
        stalled = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))  # shakes no hands
        answer = await store(port, instance(1, bulk=300_000), tls_args=(client, "127.0.0.1"))
        assert answer.Status == 0x0000
        plain = await asyncio.to_thread(Raw, port)
        assert plain.answer[:1] != b"\x02"  # a TLS alert at most
        plain.socket.close()
        stalled.close()
    assert len(house.stored) == 1


@EITHER_WAY
async def test_an_address_in_use_is_a_configuration_error(listening: Callable[..., Any]) -> None:
    async with listening() as port:
        with pytest.raises(
            ConfigurationError, match=rf"inbound.pacs.listen: 127.0.0.1:{port} cannot be bound"
        ):
            async with listening(listen=f"127.0.0.1:{port}"):
                pass
