"""Uploads in parts and whole: what is here stays here, what is complete is taken in once, or not at all."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import stat
from collections.abc import Callable
from typing import Any

import pytest

from channels.inbound.uploads.announced import Announced, announced
from channels.inbound.uploads.refusal import Reason, UploadRefused
from channels.inbound.uploads.upload import UploadState
from engine.errors import Busy, OrderRefused
from tests.channels.inbound.uploads_house import (
    CLIENT,
    Desk,
    cut_off,
    parts_of,
    rows,
    send,
    stream,
    study,
    zipped,
)

Instance = Callable[..., bytes]
PATIENCE = 60.0  # seconds


@pytest.fixture
def desk(house: Any) -> Desk:
    return Desk(house)


async def refused(call: Any) -> UploadRefused:
    with pytest.raises(UploadRefused) as told:
        await call
    return told.value


# ── in parts ────────────────────────────────────────────────────────────────────────────────────


async def test_parts_in_any_order_become_one_study_of_the_order(desk: Desk, instance: Instance) -> None:
    files = study(instance)
    order = await desk.order(metadata={"PatientAge": 45})
    uploads = desk.uploads()
    async with uploads.working():
        upload, is_new = await uploads.begin(order.order_id, "multipart", sites=["st-marys"])
        assert is_new
        assert (await desk.order_now(order.order_id)).state == "receiving"
        parts = parts_of(zipped(files), 5)
        await send(uploads, upload, {number: parts[number] for number in (4, 1, 5, 3, 2)})
        shown = await uploads.show(upload.upload_id, sites=["st-marys"])
        assert [(one.number, one.size) for one in shown.parts] == [
            (number, len(content)) for number, content in sorted(parts.items())
        ]
        assert shown.parts[0].sha256 == hashlib.sha256(parts[1]).hexdigest()
        await uploads.complete(upload.upload_id, sites=["st-marys"])
        done = await uploads.settled(upload.upload_id, PATIENCE)
    assert (done.state, done.instances, done.known) == (UploadState.TAKEN, 6, 0)
    assert sorted(file.read_bytes() for file in desk.house.stored) == sorted(files.values())
    assert desk.bytes_kept() == 0
    assert desk.house.open_sessions == 0
    bound = await desk.order_now(order.order_id)
    assert bound.study_instance_uid == done.study_instance_uid == "1.2.3"
    assert list(rows(desk.house, "select count(*) from orders")) == [(1,)]


async def test_a_part_that_is_sent_again_replaces_what_was_there(desk: Desk, instance: Instance) -> None:
    content = zipped(study(instance))
    order = await desk.order()
    uploads = desk.uploads()
    async with uploads.working():
        upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
        parts = parts_of(content, 3)
        await send(uploads, upload, {2: b"something else", **parts})
        await send(uploads, upload, {3: parts[3]})
        assert desk.bytes_kept() == len(content)
        await uploads.complete(upload.upload_id, sites=None)
        done = await uploads.settled(upload.upload_id, PATIENCE)
    assert done.state == UploadState.TAKEN


@pytest.mark.parametrize("broken", [1, 2, 3, 4])
async def test_an_upload_is_resumed_after_each_part_that_broke_off(
    desk: Desk, instance: Instance, broken: int
) -> None:
    content = zipped(study(instance))
    order = await desk.order()
    uploads = desk.uploads()
    async with uploads.working():
        upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
        parts = parts_of(content, 4)
        for number in itertools.takewhile(lambda number: number < broken, parts):
            await send(uploads, upload, {number: parts[number]})
        half = parts[broken][: len(parts[broken]) // 2]
        with pytest.raises(ConnectionResetError):
            await uploads.receive_part(upload.upload_id, broken, cut_off(half), Announced(), sites=None)
        # Who comes back asks for the upload of its order, and sees what is here.
        again, is_new = await desk.uploads().begin(order.order_id, "multipart", sites=None)
        assert (again.upload_id, is_new) == (upload.upload_id, False)
        here = {one.number for one in (await uploads.show(upload.upload_id, sites=None)).parts}
        assert here == set(range(1, broken))
        await send(uploads, again, {n: part for n, part in parts.items() if n not in here})
        await uploads.complete(upload.upload_id, sites=None)
        assert (await uploads.settled(upload.upload_id, PATIENCE)).state == UploadState.TAKEN
    assert len(desk.house.stored) == 6


async def test_completing_twice_takes_in_once(desk: Desk, instance: Instance) -> None:
    order = await desk.order()
    uploads = desk.uploads()
    async with uploads.working():
        upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
        await send(uploads, upload, {1: zipped(study(instance))})
        others = [desk.uploads().complete(upload.upload_id, sites=None) for _ in range(4)]
        await asyncio.gather(*others, uploads.complete(upload.upload_id, sites=None))
        first = await uploads.settled(upload.upload_id, PATIENCE)
        again = await uploads.complete(upload.upload_id, sites=None)
    assert first == again
    assert (first.state, first.instances, first.known) == (UploadState.TAKEN, 6, 0)


async def test_a_part_that_is_missing_or_another_than_listed_is_named(desk: Desk) -> None:
    order = await desk.order()
    uploads = desk.uploads()
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
    none = await refused(uploads.complete(upload.upload_id, sites=None))
    assert none.reason is Reason.PARTS
    await send(uploads, upload, {1: b"one", 4: b"four"})
    missing = await refused(uploads.complete(upload.upload_id, sites=None))
    assert (missing.reason, "2, 3" in str(missing)) == (Reason.PARTS, True)
    await send(uploads, upload, {2: b"two", 3: b"three"})
    unlisted = await refused(uploads.complete(upload.upload_id, sites=None, listed={1: None, 2: None}))
    assert "part 3 is here and not listed" in str(unlisted)
    other = {1: hashlib.sha256(b"two").hexdigest(), 2: None, 3: None, 4: None}
    wrong = await refused(uploads.complete(upload.upload_id, sites=None, listed=other))
    assert "part 1 is another" in str(wrong)
    assert (await uploads.show(upload.upload_id, sites=None)).upload.state == UploadState.OPEN


async def test_bytes_that_are_not_those_announced_are_not_kept(desk: Desk) -> None:
    order = await desk.order()
    uploads = desk.uploads()
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
    said = announced("4", ["sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"])
    wrong = await refused(uploads.receive_part(upload.upload_id, 1, stream(b"four"), said, sites=None))
    assert wrong.reason is Reason.DIGEST
    short = await refused(
        uploads.receive_part(upload.upload_id, 1, stream(b"four"), Announced(5), sites=None)
    )
    assert short.reason is Reason.DIGEST
    assert desk.bytes_kept() == 0


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


async def test_limits_hold_before_a_byte_is_kept(desk: Desk) -> None:
    order, other = await desk.order(), await desk.order()
    uploads = desk.uploads(max_part=10, max_size=25, max_parts=3, max_open=1, max_waiting=22)
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
    assert (await refused(uploads.begin(other.order_id, "multipart", sites=None))).reason is Reason.QUOTA
    assert (await desk.order_now(other.order_id)).state == "created"

    async def put(number: int, content: bytes, said: Announced | None = None) -> Any:
        return await uploads.receive_part(
            upload.upload_id, number, stream(content), said or Announced(), sites=None
        )

    assert (await refused(put(1, b"", Announced(11)))).reason is Reason.TOO_LARGE
    assert (await refused(put(1, b"x" * 11))).reason is Reason.TOO_LARGE
    for number in (0, 4):
        assert (await refused(put(number, b"x"))).reason is Reason.PARTS
    await put(1, b"x" * 10)
    await put(2, b"x" * 10)
    assert (await refused(put(3, b"x" * 3))).reason is Reason.QUOTA
    await put(3, b"x")
    assert (await refused(put(3, b"x" * 6))).reason is Reason.QUOTA
    assert desk.bytes_kept() == 21
    await uploads.abort(upload.upload_id, sites=None)
    assert desk.bytes_kept() == 0
    await uploads.begin(other.order_id, "multipart", sites=None)


async def test_a_body_that_stands_still_is_given_up(desk: Desk) -> None:
    order = await desk.order()
    uploads = desk.uploads(idle_timeout="50ms")
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)

    async def silent() -> Any:
        yield b"some"
        await asyncio.sleep(3600)

    told = await refused(uploads.receive_part(upload.upload_id, 1, silent(), Announced(), sites=None))
    assert told.reason is Reason.SILENT
    assert desk.bytes_kept() == 0


async def test_a_disk_below_its_watermark_takes_no_bytes(desk: Desk, instance: Instance) -> None:
    order = await desk.order()
    uploads = desk.uploads()
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
    desk.house.free[0] = 0
    desk.house.spool.look_again()
    with pytest.raises(Busy) as told:
        await send(uploads, upload, {1: b"x"})
    assert told.value.storage_full
    desk.house.free[0] = 1 << 40
    desk.house.spool.look_again()
    async with uploads.working():
        await send(uploads, upload, {1: zipped(study(instance))})
        await uploads.complete(upload.upload_id, sites=None)
        assert (await uploads.settled(upload.upload_id, PATIENCE)).state == UploadState.TAKEN


async def test_a_complete_upload_waits_for_room_and_says_so(
    desk: Desk, instance: Instance, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    monkeypatch.setattr("channels.inbound.uploads.tender.AGAIN", 0.05)
    order = await desk.order()
    uploads = desk.uploads()
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
    await send(uploads, upload, {1: zipped(study(instance))})
    desk.house.free[0] = 0
    desk.house.spool.look_again()
    await uploads.complete(upload.upload_id, sites=None)
    async with uploads.working():
        await eventually(lambda: bool(uploads._tender.waits))
        assert "watermark" in (await uploads.show(upload.upload_id, sites=None)).waits
        assert (await uploads.settled(upload.upload_id, 0.0)).state == UploadState.TAKING
        desk.house.free[0] = 1 << 40
        desk.house.spool.look_again()
        assert (await uploads.settled(upload.upload_id, PATIENCE)).state == UploadState.TAKEN
    assert len(desk.house.stored) == 6


async def test_a_disk_that_is_full_keeps_nothing_of_a_part(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await desk.order()
    uploads = desk.uploads()
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)

    def full(_descriptor: int, _data: Any) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patched:
        patched.setattr("channels.inbound.uploads.receiving.os.write", full)
        with pytest.raises(Busy) as told:
            await uploads.receive_part(upload.upload_id, 1, stream(b"x" * (3 << 20)), Announced(), sites=None)
    assert told.value.storage_full
    assert desk.bytes_kept() == 0
    assert uploads._ledger.by_site() == {"st-marys": (1, 0)}


async def test_an_upload_that_one_table_completed_the_next_takes_in(
    desk: Desk, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.inbound.uploads.tender.LOOK", 0.05)
    order = await desk.order()
    before, after = desk.uploads(), desk.uploads()
    upload, _ = await before.begin(order.order_id, "multipart", sites=None)
    async with after.working():
        await send(before, upload, {1: zipped(study(instance))})
        await before.complete(upload.upload_id, sites=None)  # nobody works there any more
        assert (await before.settled(upload.upload_id, PATIENCE)).state == UploadState.TAKEN
    assert len(desk.house.stored) == 6


# ── whole, at a signed address ──────────────────────────────────────────────────────────────────


def opened(query: str) -> tuple[str, str]:
    found = dict(pair.split("=") for pair in query.split("&"))
    return found["expires"], found["signature"]


async def test_a_whole_upload_is_taken_with_its_last_byte(desk: Desk, instance: Instance) -> None:
    content = zipped(study(instance))
    order = await desk.order()
    uploads = desk.uploads()
    async with uploads.working():
        digest = hashlib.sha256(content).hexdigest()
        upload, _ = await uploads.begin(
            order.order_id, "single", sites=None, size=len(content), sha256=digest
        )
        query, _ = await uploads.link(upload)
        found = await uploads.linked(upload.upload_id, *opened(query))
        with pytest.raises(ConnectionResetError):
            await uploads.receive_whole(found, cut_off(content[:5000]), Announced(len(content)))
        assert (
            await refused(uploads.receive_whole(found, stream(b"x"), Announced(1)))
        ).reason is Reason.DIGEST
        other = content[:-1] + b"x"
        wrong = await refused(uploads.receive_whole(found, stream(other), Announced(len(content))))
        assert wrong.reason is Reason.DIGEST
        assert desk.bytes_kept() == 0
        await uploads.receive_whole(found, stream(content), Announced(len(content)))
        done = await uploads.settled(upload.upload_id, PATIENCE)
        assert (done.state, done.instances) == (UploadState.TAKEN, 6)
        reused = await uploads.linked(upload.upload_id, *opened(query))
        again = await refused(uploads.receive_whole(reused, stream(content), Announced(len(content))))
        assert again.reason is Reason.STATE
    assert len(desk.house.stored) == 6


async def test_an_address_that_expired_or_was_changed_opens_nothing(desk: Desk) -> None:
    order, other = await desk.order(), await desk.order()
    uploads = desk.uploads(link_life="1h")
    upload, _ = await uploads.begin(order.order_id, "single", sites=None, size=10)
    second, _ = await uploads.begin(other.order_id, "single", sites=None, size=10)
    expires, signature = opened((await uploads.link(upload))[0])
    assert (await uploads.linked(upload.upload_id, expires, signature)).upload_id == upload.upload_id
    wrong = [
        (second.upload_id, expires, signature),
        (upload.upload_id, str(int(expires) + 1), signature),
        (upload.upload_id, expires, signature[:-1] + ("0" if signature[-1] != "0" else "1")),
        (upload.upload_id, expires, ""),
        (upload.upload_id, "", signature),
        (upload.upload_id, "9" * 13, signature),
        (f"{'0' * 32}.1", expires, signature),
        ("../../link.key", expires, signature),
    ]
    for one in wrong:
        assert (await refused(uploads.linked(*one))).reason is Reason.LINK, one
    desk.now[0] = 3601
    assert (await refused(uploads.linked(upload.upload_id, expires, signature))).reason is Reason.LINK
    key = desk.root / "link.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


# ── giving up ───────────────────────────────────────────────────────────────────────────────────


async def test_an_aborted_upload_leaves_nothing_and_the_order_as_it_was(desk: Desk) -> None:
    order = await desk.order()
    uploads = desk.uploads()
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
    await send(uploads, upload, {1: b"x" * 1000})
    for _ in range(2):
        assert (await uploads.abort(upload.upload_id, sites=None)).state == UploadState.ABORTED
    assert desk.bytes_kept() == 0
    assert (await desk.order_now(order.order_id)).state == "created"
    late = await refused(uploads.receive_part(upload.upload_id, 1, stream(b"x"), Announced(), sites=None))
    assert late.reason is Reason.STATE
    assert (await refused(uploads.complete(upload.upload_id, sites=None))).reason is Reason.STATE
    second, is_new = await uploads.begin(order.order_id, "single", sites=None)
    assert (second.upload_id, is_new) == (f"{order.order_id}.2", True)
    trail = list(
        rows(desk.house, "select action from audit_events where action like 'order upload%' order by 1")
    )
    assert trail == [("order upload began",), ("order upload began",), ("order upload given up",)]


async def test_an_upload_that_nobody_goes_on_with_is_dropped_and_later_forgotten(desk: Desk) -> None:
    order = await desk.order()
    uploads = desk.uploads(expire_after="1h", keep="1h")
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
    await send(uploads, upload, {1: b"x" * 1000})
    await uploads._tender.tidy()
    assert (await uploads.show(upload.upload_id, sites=None)).upload.state == UploadState.OPEN
    desk.now[0] = 3700
    await uploads._tender.tidy()
    assert (await uploads.show(upload.upload_id, sites=None)).upload.state == UploadState.EXPIRED
    assert desk.bytes_kept() == 0
    assert (await desk.order_now(order.order_id)).state == "created"
    desk.now[0] = 2 * 3700
    await uploads._tender.tidy()
    assert (await refused(uploads.show(upload.upload_id, sites=None))).reason is Reason.NOT_FOUND


async def test_nothing_is_kept_for_an_order_that_was_cancelled(desk: Desk, instance: Instance) -> None:
    order, late = await desk.order(), await desk.order()
    uploads = desk.uploads()
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=None)
    await send(uploads, upload, {1: zipped(study(instance))})
    second, _ = await uploads.begin(late.order_id, "multipart", sites=None)
    await send(uploads, second, {1: zipped(study(instance))})
    await uploads.complete(second.upload_id, sites=None)
    for one in (order, late):
        await desk.house.intake.orders.cancel(one.order_id, actor=CLIENT)
    with pytest.raises(OrderRefused):
        await uploads.complete(upload.upload_id, sites=None)
    await uploads._tender.tidy()
    assert (await uploads.show(upload.upload_id, sites=None)).upload.state == UploadState.ABORTED
    async with uploads.working():
        ended = await uploads.settled(second.upload_id, PATIENCE)
    assert ended.failure is not None
    assert (ended.state, ended.failure.reason) == (UploadState.FAILED, "order")
    assert "cancelled" in ended.failure.detail
    assert (desk.bytes_kept(), desk.house.stored) == (0, [])


async def test_one_upload_of_an_order_at_a_time(desk: Desk) -> None:
    order = await desk.order()
    uploads = desk.uploads()
    first = await asyncio.gather(
        *(uploads.begin(order.order_id, "multipart", sites=None, size=10) for _ in range(8))
    )
    assert {upload.upload_id for upload, _ in first} == {f"{order.order_id}.1"}
    assert sum(is_new for _, is_new in first) == 1
    assert (await refused(uploads.begin(order.order_id, "single", sites=None))).reason is Reason.STATE


async def test_what_is_of_another_site_is_not_there(desk: Desk) -> None:
    order = await desk.order("northside")
    uploads = desk.uploads()
    with pytest.raises(OrderRefused):
        await uploads.begin(order.order_id, "multipart", sites=["st-marys"])
    upload, _ = await uploads.begin(order.order_id, "multipart", sites=["northside"])
    named: dict[str, Any] = {"sites": ["st-marys"]}
    for call in (
        uploads.show(upload.upload_id, **named),
        uploads.receive_part(upload.upload_id, 1, stream(b"x"), Announced(), **named),
        uploads.complete(upload.upload_id, **named),
        uploads.abort(upload.upload_id, **named),
    ):
        assert (await refused(call)).reason is Reason.NOT_FOUND
    for path in (desk.root, desk.root / upload.upload_id):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((desk.root / upload.upload_id / "upload.json").stat().st_mode) == 0o600
