"""Each instance is offered once and told of, whatever becomes of the association it is on."""

from __future__ import annotations

import asyncio
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from channels.inbound.c_store import CStoreSettings
from channels.outbound.dicom_forward import Settings as ForwardSettings
from channels.outbound.webhook import CHANNEL as WEBHOOK
from channels.senders.c_store import SENDER, shares
from engine.archive import members
from engine.channel import Candidate, Outcome, Sender, Told
from tests.contract import instances
from tests.contract.instances import JPEG_2000
from tests.contract.scp import Scp, accept_association, bare_server, read_message, response, serving
from tests.peers.dcmtk import Storescp
from tests.peers.part10 import data_set_bytes


class Heard:
    """Keeps what a sender tells."""

    def __init__(self) -> None:
        self.each: list[Told] = []
        self.bytes = 0

    def moved(self, count: int) -> None:
        self.bytes += count

    def told(self, told: Told) -> None:
        self.each.append(told)

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Name and code, in the order of names."""
        return sorted((one.candidate.name, one.code) for one in self.each)


def sender(port: int, **settings: Any) -> Sender:
    block = {"host": "127.0.0.1", "port": port, "ae_title": "PEER", "timeout": "30s", **settings}
    return SENDER.build(SENDER.settings.model_validate(block))


@pytest.fixture
def candidates(tmp_path: Path) -> Callable[..., list[Candidate]]:
    """Factory: so many files, looked at."""

    def make(count: int, **facts: str) -> list[Candidate]:
        looking = sender(104)
        for number in range(1, count + 1):
            (tmp_path / f"{number:03}").write_bytes(instances.file(f"1.2.3.4.{number}", **facts))
        return [looking.look(path.name, path) for path in sorted(tmp_path.iterdir())]

    return make


async def test_every_instance_is_told_with_its_code(candidates: Callable[..., list[Candidate]]) -> None:
    heard = Heard()
    with serving(Scp([0, 0xB007, 0xC000])) as scp:
        await sender(scp.port).send(candidates(4), heard)

    assert heard.outcomes == [("001", "0000"), ("002", "B007"), ("003", "C000"), ("004", "0000")]
    assert Counter(one.outcome for one in heard.each) == {
        Outcome.SENT: 2,
        Outcome.WARNING: 1,
        Outcome.FAILED: 1,
    }
    assert heard.bytes > 4 * 200


async def test_several_associations_share_the_work(candidates: Callable[..., list[Candidate]]) -> None:
    heard = Heard()
    with serving(Scp()) as scp:
        await sender(scp.port, associations=3).send(candidates(30), heard)

    assert scp.associations == 3
    assert len({each.sop_instance_uid for each in scp.stored}) == len(scp.stored) == len(heard.each) == 30


async def test_what_was_on_its_way_when_the_association_broke_failed_and_the_rest_arrives(
    candidates: Callable[..., list[Candidate]],
) -> None:
    heard = Heard()
    with serving(Scp(abort_at=1)) as scp:
        await sender(scp.port).send(candidates(4), heard)

    codes = dict(heard.outcomes)
    assert codes.pop("002") in ("aborted", "closed")
    assert codes == {"001": "0000", "003": "0000", "004": "0000"}
    assert scp.associations == 2


async def test_a_peer_that_rejects_is_not_asked_again(candidates: Callable[..., list[Candidate]]) -> None:
    heard = Heard()
    with serving(Scp(require_called=True)) as scp:
        await sender(scp.port, ae_title="NOBODY").send(candidates(3), heard)

    assert [code for _, code in heard.outcomes] == ["rejected 1/1/7"] * 3
    assert "check both AE titles" in heard.each[0].reason


async def test_a_peer_that_breaks_every_association_is_left_alone_after_three(
    candidates: Callable[..., list[Candidate]],
) -> None:
    heard = Heard()
    with serving(Scp(script=["close"] * 20)) as scp:
        await sender(scp.port).send(candidates(10), heard)

    assert scp.associations == 3
    assert [code for _, code in heard.outcomes] == ["closed"] * 10


async def test_a_peer_out_of_resources_is_spared_the_rest(candidates: Callable[..., list[Candidate]]) -> None:
    heard = Heard()
    with serving(Scp([0, 0xA700])) as scp:
        await sender(scp.port).send(candidates(4), heard)

    assert heard.outcomes == [
        ("001", "0000"),
        ("002", "A700"),
        ("003", "out of resources"),
        ("004", "out of resources"),
    ]
    assert len(scp.requests) == 2


async def test_silence_costs_the_timeout_and_is_told(candidates: Callable[..., list[Candidate]]) -> None:
    heard = Heard()
    with serving(Scp(script=["stall"] * 9)) as scp:
        await sender(scp.port, timeout="500ms").send(candidates(1), heard)
        scp.let_go()

    [told] = heard.each
    assert (told.outcome, told.code) == (Outcome.FAILED, "timeout")
    assert "did not answer for 0.5 s" in told.reason


async def test_an_image_the_peer_does_not_take_is_refused_by_name(
    candidates: Callable[..., list[Candidate]],
) -> None:
    heard = Heard()
    with serving(Scp()) as scp:
        await sender(scp.port, reencode="never").send(candidates(1, transfer_syntax_uid=JPEG_2000), heard)

    [told] = heard.each
    assert told.code == "no context"
    assert "JPEG 2000" in told.reason


async def test_cancelled_it_aborts_and_what_was_not_answered_is_not_told(
    candidates: Callable[..., list[Candidate]],
) -> None:
    heard = Heard()
    with serving(Scp(script=["stall"])) as scp:
        task = asyncio.create_task(sender(scp.port).send(candidates(3), heard))
        assert await asyncio.to_thread(scp.holding.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        scp.let_go()
        assert await asyncio.to_thread(scp.aborted.wait, 30)

    assert heard.each == []


async def test_a_large_member_of_an_archive_is_streamed_in_constant_memory(tmp_path: Path) -> None:
    size = 100 << 20
    block = bytes(range(256)) * 4096
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open("1.dcm", "w") as file,
    ):
        file.write(instances.file("1.2.3.4.1", body=instances.element(0x7FE0, 0x10, b"OB", b"")[:8]))
        file.write(size.to_bytes(4, "little"))
        for _ in range(size // len(block)):
            file.write(block)
    received: list[int] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer)
        received.append(await read_message(reader))
        writer.write(response())
        await writer.drain()
        await reader.read()

    [member] = members(tmp_path / "a.zip")
    heard = Heard()
    async with bare_server(converse) as port:
        sending = sender(port, timeout="60s")
        candidate = sending.look(member.name, member)
        tracemalloc.start()
        await sending.send([candidate], heard)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert received == [size + 12]
    assert [one.code for one in heard.each] == ["0000"]
    assert peak < 16 << 20


@pytest.mark.peers
async def test_storescp_gets_files_and_members_bit_for_bit(
    tmp_path: Path, storescp: Callable[..., Storescp]
) -> None:
    contents = {f"1.2.3.4.{number}": instances.file(f"1.2.3.4.{number}") for number in range(1, 7)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        for uid in list(contents)[:3]:
            made.writestr(uid, contents[uid])
    for uid in list(contents)[3:]:
        (tmp_path / uid).write_bytes(contents[uid])
    scp = storescp("PEER")
    sending, heard = sender(scp.port, associations=2), Heard()
    found = [sending.look(one.name, one) for one in members(tmp_path / "a.zip")]
    found += [sending.look(uid, tmp_path / uid) for uid in list(contents)[3:]]

    await sending.send(found, heard)

    kept = sorted(data_set_bytes(path.read_bytes()) for path in scp.wait_for_files(6))
    assert kept == sorted(map(data_set_bytes, contents.values()))
    assert {one.outcome for one in heard.each} == {Outcome.SENT}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_shares_are_everything_once_in_order_and_about_equal(count: int) -> None:
    found = [Candidate(str(number), Path(), "", 10 + number % 3, None) for number in range(12)]

    cut = list(shares(found, count))

    assert [one for share in cut for one in share] == found
    assert len(cut) == min(count, 12)
    sizes = [sum(one.size for one in share) for share in cut]
    assert max(sizes) - min(sizes) <= 24


def test_one_huge_instance_does_not_leave_others_out() -> None:
    found = [Candidate(str(number), Path(), "", size, None) for number, size in enumerate([1000, 1, 1, 1])]
    assert [one for share in shares(found, 4) for one in share] == found


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("PACS@10.0.0.1:104", {"ae_title": "PACS", "host": "10.0.0.1", "port": 104}),
        (
            "STM PACS@pacs.stm.example:11112",
            {"ae_title": "STM PACS", "host": "pacs.stm.example", "port": 11112},
        ),
        ("PACS@[::1]:104", {"ae_title": "PACS", "host": "::1", "port": 104}),
        ("https://pacs.example:8443/dicomweb", None),
        ("stm-pacs", None),
    ],
)
def test_a_target_is_read_as_it_is_typed(target: str, settings: dict[str, Any] | None) -> None:
    assert SENDER.of_target(target) == settings


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("10.0.0.1:104", "PACS@10.0.0.1:104"),
        ("@10.0.0.1:104", "PACS@10.0.0.1:104"),
        ("PACS@host", "HOST:PORT"),
    ],
)
def test_what_is_half_a_target_is_told_what_lacks(target: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SENDER.of_target(target)


def test_a_port_past_the_last_is_refused() -> None:
    with pytest.raises(ValidationError):
        SENDER.settings.model_validate(SENDER.of_target("PACS@10.0.0.1:70000"))


def test_a_channel_of_the_table_is_a_peer() -> None:
    forward = ForwardSettings.model_validate(
        {
            "site": "a",
            "host": "10.0.0.1",
            "port": 104,
            "ae_title": "PACS",
            "calling_ae_title": "US",
            "tls": {},
        }
    )
    everywhere = CStoreSettings.model_validate({"listen": "0.0.0.0:11112"})
    hook = WEBHOOK.settings.model_validate({"site": "a", "url": "https://a.example", "secret": {"env": "X"}})

    assert SENDER.settings.model_validate(SENDER.of_channel(forward, "")).calling_ae_title == "US"
    assert SENDER.of_channel(everywhere, "") == {"host": "127.0.0.1", "port": 11112, "ae_title": "PONS"}
    assert SENDER.of_channel(hook, "") is None
    with pytest.raises(ValueError, match="it listens with TLS"):
        SENDER.of_channel(CStoreSettings.model_validate({"tls": {}}), "")


def test_a_dicomdir_is_no_instance(tmp_path: Path) -> None:
    path = tmp_path / "DICOMDIR"
    path.write_bytes(instances.file("1.2.3", sop_class_uid="1.2.840.10008.1.3.10"))

    with pytest.raises(ValueError, match="DICOMDIR"):
        sender(104).look("DICOMDIR", path)
