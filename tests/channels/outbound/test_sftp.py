"""Reports below `/output` of our own SFTP server: whole, durable, of the site, and seen by its users."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from channels.outbound.sftp import CHANNEL, SftpOutput
from channels.transport.sftp_layout import tidy
from engine.catalog import installed_exports
from engine.channel import OutboundContext
from engine.errors import Refused, TryAgain
from engine.model import Delivery, History, Payload, Result, Site

SITE = Site("st-marys", "St. Mary's")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """What users of the site see as `/output`, as the way in has made it."""
    folder = tmp_path / "sftp" / "drop" / "st-marys" / "files" / "output"
    folder.mkdir(parents=True)
    return folder


def made(data: Path, **block: Any) -> SftpOutput:
    settings = CHANNEL.settings.model_validate({"site": "st-marys", "through": "drop", **block})
    lent = OutboundContext("stm-drop", SITE, exports=installed_exports, data=data)
    channel = CHANNEL.build(settings, lent)
    assert isinstance(channel, SftpOutput)
    return channel


def filed(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


async def test_each_format_is_a_file_of_the_study(
    tmp_path: Path, output: Path, result: Result, history: History, delivery: Delivery
) -> None:
    channel = made(tmp_path, formats=["txt", "json"])
    payload = channel.render(result, history)
    answer = await channel.deliver(payload, delivery)
    assert (answer.code, answer.detail) == ("0", "2 files put out")
    names = [payload.parts[number].facts["path"] for number in (1, 0)]
    assert filed(output) == names
    assert [name.rpartition("/")[2] for name in names] == ["all.json", "all.txt"]
    for part in payload.parts:
        file = output / part.facts["path"]
        assert file.read_bytes() == part.read()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert filed(output.parents[1] / "making") == []


async def test_again_it_is_the_same_file_and_a_later_version_replaces_it(
    tmp_path: Path, output: Path, result: Result, history: History, delivery: Delivery
) -> None:
    channel = made(tmp_path, formats=["json"], path="{accession_number}.{ext}")
    for _ in range(2):
        await channel.deliver(channel.render(result, history), delivery)
    later = channel.render(result.model_copy(update={"revision": 2}), history)
    await channel.deliver(later, delivery)
    assert filed(output) == ["ACC-99.json"]
    assert (output / "ACC-99.json").read_bytes() == later.parts[0].read()


async def test_without_users_of_the_site_it_waits_and_says_so(
    tmp_path: Path, result: Result, history: History, delivery: Delivery
) -> None:
    channel = made(tmp_path, formats=["json"])
    with pytest.raises(TryAgain, match="no SFTP way in 'drop' with a user of st-marys") as told:
        await channel.deliver(channel.render(result, history), delivery)
    assert told.value.code == "no_users"
    with pytest.raises(TryAgain):
        await channel.probe()


async def test_a_disk_that_cannot_take_it_is_tried_again_and_no_half_is_seen(
    tmp_path: Path,
    output: Path,
    result: Result,
    history: History,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = made(tmp_path, formats=["json"])
    payload = channel.render(result, history)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as fault:
        fault.setattr(os, "fsync", full)
        with pytest.raises(TryAgain, match="No space left") as told:
            await channel.deliver(payload, delivery)
    assert told.value.code == "disk"
    assert filed(output.parents[1]) == []
    await channel.deliver(payload, delivery)
    assert len(filed(output)) == 1


async def test_nothing_to_tell_is_refused(tmp_path: Path, output: Path, delivery: Delivery) -> None:
    with pytest.raises(Refused, match="no file"):
        await made(tmp_path).deliver(Payload(()), delivery)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"path": "/{study}"}, "remove the / before it"),
        ({"path": "groups/{study}.{ext}"}, "reports of groups"),
        ({"path": "{study}"}, "several formats would share a file"),
        ({"path": "../{study}.{ext}"}, "are none"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, block: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        made(tmp_path, **block)


def test_what_is_old_goes_with_its_empty_folders(tmp_path: Path) -> None:
    for name in ("old/a.pdf", "both/a.pdf", "both/b.pdf"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"report")
        if name != "both/b.pdf":
            os.utime(file, (1000, 1000))
    for folder in ("old", "both"):
        os.utime(tmp_path / folder, (1000, 1000))
    tidy(tmp_path, 2000)
    assert filed(tmp_path) == ["both/b.pdf"]
    tidy(tmp_path, 5e9)
    assert list(tmp_path.iterdir()) == []
