"""Reports on a hospital's OpenSSH server: whole or not there, resumed, and never to another server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from channels.outbound.sftp_push import CHANNEL, SftpPush
from channels.transport.sftp_put import PIECE, resume_at
from engine.catalog import installed_exports
from engine.channel import OutboundContext
from engine.errors import Refused, TryAgain
from engine.model import Delivery, History, Part, Payload, Result, Site
from tests.peers.openssh import OpenSsh, breaking_line, key_pair

pytestmark = [pytest.mark.sftp, pytest.mark.peers]

SITE = Site("st-marys", "St. Mary's")


@pytest.fixture
def hospital(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[OpenSsh]:
    server = OpenSsh(tmp_path / "hospital", free_port())
    yield server
    server.stop()


def block(hospital: OpenSsh, **more: Any) -> dict[str, Any]:
    return {
        "site": "st-marys",
        "host": "127.0.0.1",
        "port": hospital.port,
        "user": hospital.user,
        "key": {"file": str(hospital.key)},
        "host_keys": [hospital.host_key],
        "formats": ["json"],
        "path": f"{hospital.served}/{{study}}/{{route}}.{{ext}}",
        "timeout": "20s",
        **more,
    }


def push(hospital: OpenSsh, **more: Any) -> SftpPush:
    settings = CHANNEL.settings.model_validate(block(hospital, **more))
    made = CHANNEL.build(settings, OutboundContext("push", SITE, exports=installed_exports))
    assert isinstance(made, SftpPush)
    return made


def said(argv: list[str], given: str = "") -> str:
    done = subprocess.run(argv, input=given, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def filed(hospital: OpenSsh) -> list[str]:
    """Every file on the server, by its path there."""
    found = (one for one in hospital.served.rglob("*") if one.is_file())
    return sorted(str(one.relative_to(hospital.served)) for one in found)


def large(hospital: OpenSsh, size: int = 5 * PIECE + 12345) -> Payload:
    part = Part("large-1", "application/pdf", os.urandom(size), {"path": f"{hospital.served}/r/large.pdf"})
    return Payload((part,), "large")


async def test_each_format_is_a_file_under_its_name_and_no_other(
    hospital: OpenSsh, result: Result, history: History, delivery: Delivery
) -> None:
    channel = push(hospital, formats=["pdf", "json"], marker=".done")
    payload = channel.render(result, history)
    answer = await channel.deliver(payload, delivery)
    assert (answer.code, answer.detail) == ("0", "2 files put")
    [folder] = [one.name for one in hospital.served.iterdir()]
    assert folder.startswith("ACC-99-")
    names = ["all.json", "all.json.done", "all.pdf", "all.pdf.done"]
    assert filed(hospital) == [f"{folder}/{name}" for name in names]
    assert (hospital.served / folder / "all.pdf").read_bytes() == payload.parts[0].read()
    assert json.loads((hospital.served / folder / "all.json").read_text())
    assert (hospital.served / folder / "all.pdf.done").read_bytes() == b""


async def test_a_later_version_replaces_the_file(
    hospital: OpenSsh, result: Result, history: History, delivery: Delivery
) -> None:
    channel = push(hospital)
    await channel.deliver(channel.render(result, history), delivery)
    corrected = channel.render(result.model_copy(update={"revision": 2}), history)
    await channel.deliver(corrected, delivery)
    [name] = filed(hospital)
    assert (hospital.served / name).read_bytes() == corrected.parts[0].read()


async def test_what_was_cut_off_half_way_is_gone_on_with(hospital: OpenSsh, delivery: Delivery) -> None:
    payload = large(hospital)
    content = payload.parts[0].read()
    unfinished = hospital.served / "r" / ".large-1.part"
    async with breaking_line(hospital.port, after=len(content) // 2) as port:
        channel = push(hospital, port=port)
        with pytest.raises(TryAgain) as cut:
            await channel.deliver(payload, delivery)
        assert cut.value.code == "closed"
        there = unfinished.stat().st_size
        assert PIECE < there < len(content)
        assert filed(hospital) == ["r/.large-1.part"]  # nobody sees half a report
        with unfinished.open("r+b") as file:  # a byte that was sent before is not sent again
            file.write(b"\0" if content[0] else b"\1")
        await channel.deliver(payload, delivery)
    assert filed(hospital) == ["r/large.pdf"]
    assert (hospital.served / "r" / "large.pdf").read_bytes()[1:] == content[1:]
    assert (hospital.served / "r" / "large.pdf").read_bytes()[0] != content[0]


@pytest.mark.parametrize(
    ("there", "at"),
    [
        (0, 0),  # nothing is there
        (5, 0),  # the first piece may have holes
        (PIECE, 0),  # so may one that ends where a piece does
        (PIECE + 1, PIECE),  # the second was begun, so the first was answered
        (3 * PIECE, 2 * PIECE),
        (3 * PIECE + 1, 0),  # longer than the file: not ours
    ],
)
def test_where_an_upload_is_gone_on_with(there: int, at: int) -> None:
    assert resume_at(there, 3 * PIECE) == at


async def test_a_server_that_was_killed_in_the_middle_has_the_file_at_the_next_attempt(
    hospital: OpenSsh, delivery: Delivery
) -> None:
    payload = large(hospital)
    async with breaking_line(hospital.port, after=2 * PIECE) as port:
        with pytest.raises(TryAgain):
            await push(hospital, port=port).deliver(payload, delivery)
    hospital.stop()
    with pytest.raises(TryAgain) as down:
        await push(hospital).deliver(payload, delivery)
    assert (down.value.code, down.value.uncertain) == ("connection", False)
    hospital.start()
    await push(hospital).deliver(payload, delivery)
    assert (hospital.served / "r" / "large.pdf").read_bytes() == payload.parts[0].read()


async def test_a_server_that_is_full_is_tried_again_and_goes_on_when_it_has_room(
    tmp_path: Path, free_port: Callable[[], int], delivery: Delivery
) -> None:
    full = OpenSsh(tmp_path / "hospital", free_port(), largest_file=2 * PIECE)
    payload = large(full)
    try:
        with pytest.raises(TryAgain) as refused:
            await push(full).deliver(payload, delivery)
        assert refused.value.code == "failure"
        assert "full" in str(refused.value)
        assert filed(full) == ["r/.large-1.part"]
    finally:
        full.stop()
    full.largest_file = None
    full.start()
    try:
        await push(full).deliver(payload, delivery)
        assert (full.served / "r" / "large.pdf").read_bytes() == payload.parts[0].read()
    finally:
        full.stop()


async def test_another_host_key_pauses_the_way_and_nothing_is_sent(
    hospital: OpenSsh, delivery: Delivery
) -> None:
    channel = push(hospital)
    hospital.stop()
    hospital.new_host_key()
    hospital.start()
    shown = said(["ssh-keygen", "-lf", "-"], hospital.host_key).split()[1]
    with pytest.raises(Refused) as refused:
        await channel.deliver(large(hospital), delivery)
    assert (refused.value.code, refused.value.pause) == ("host_key", True)
    assert f"has another host key ({shown})" in str(refused.value)
    assert filed(hospital) == []
    with pytest.raises(Refused):
        await channel.probe()


async def test_known_hosts_as_ssh_keyscan_writes_them_is_believed(
    hospital: OpenSsh, tmp_path: Path, delivery: Delivery
) -> None:
    (tmp_path / "hosts").write_text(said(["ssh-keyscan", "-p", str(hospital.port), "127.0.0.1"]))
    known = {"file": str(tmp_path / "hosts")}
    await push(hospital, host_keys=[], known_hosts=known).deliver(large(hospital), delivery)
    assert filed(hospital) == ["r/large.pdf"]
    (tmp_path / "hosts").write_text("")
    with pytest.raises(Refused, match="another host key"):
        await push(hospital, host_keys=[], known_hosts=known).probe()


async def test_a_server_that_denies_permission_pauses_the_way(hospital: OpenSsh, delivery: Delivery) -> None:
    (hospital.served / "r").mkdir()
    hospital.stop()
    hospital.read_only = True
    hospital.start()
    for there in (True, False):  # the file is denied, and then its folder
        with pytest.raises(Refused, match="denies permission") as refused:
            await push(hospital).deliver(large(hospital), delivery)
        assert (refused.value.code, refused.value.pause) == ("permission_denied", True)
        assert "large" not in str(refused.value)
        if there:
            (hospital.served / "r").rmdir()
    assert filed(hospital) == []


async def test_a_key_that_is_not_accepted_is_tried_again(
    hospital: OpenSsh, tmp_path: Path, delivery: Delivery
) -> None:
    key_pair(tmp_path / "other")
    with pytest.raises(TryAgain, match="does not accept our user and key") as refused:
        await push(hospital, key={"file": str(tmp_path / "other")}).deliver(large(hospital), delivery)
    assert refused.value.code == "authentication"


async def test_a_probe_writes_nothing(hospital: OpenSsh) -> None:
    await push(hospital).probe()
    assert filed(hospital) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"host_keys": []}, "give host_keys or known_hosts"),
        ({"host_keys": ["ssh-ed25519 AAAA"]}, "key 1 is no public key"),
        ({"key": None}, "give key, or password"),
        ({"path": "{name}.{ext}"}, "there is no such field"),
        ({"path": "{route}.{ext}"}, "two studies would share a file"),
        ({"path": "{study}/../{ext}"}, "are none"),
        ({"path": "{study!r}"}, "there is no such field"),
        ({"path": "{study"}, "braces do not fit"),
        ({"path": "{study}.pdf", "formats": ["pdf", "json"]}, "several formats would share a file"),
        ({"marker": "done"}, "marker"),
    ],
)
def test_what_cannot_be_is_told(hospital: OpenSsh, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CHANNEL.settings.model_validate(block(hospital, **more))


def test_a_path_by_accession_number_alone_is_cautioned(hospital: OpenSsh) -> None:
    [(where, words)] = push(hospital, path="in/{accession_number}.{ext}").cautions()
    assert where == ("path",)
    assert "{study}" in words
    assert list(push(hospital).cautions()) == []
