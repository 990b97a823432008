"""SFTP in, by OpenSSH's own client: what is put is taken once, what cannot be taken says why."""

from __future__ import annotations

import asyncio
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.channels.inbound.sftp_house import Server, serving, until

pytestmark = [pytest.mark.sftp, pytest.mark.peers]


QUIET = 0.3  # seconds, of the house


def connected(server: Server) -> Any:
    """A client of the site, whose connection can be cut."""
    key = [str(server.keys["stm"])]
    return asyncssh.connect(
        "127.0.0.1", server.port, username="stm", client_keys=key, known_hosts=None, config=None
    )


@pytest.fixture
def serve(house: Any, tmp_path: Path) -> Callable[..., Any]:
    return serving(house, tmp_path)


@pytest.fixture
def study(tmp_path: Path, instance: Callable[..., bytes]) -> Path:
    """A folder with three instances of one study."""
    folder = tmp_path / "study"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"{number}.dcm").write_bytes(instance(number))
    return folder


async def test_a_file_that_is_put_is_taken_and_filed_as_done(
    serve: Callable[..., Any], house: Any, study: Path
) -> None:
    async with serve() as server:
        done = await server.sftp(f"put {study}/1.dcm input/1.dcm")
        assert done.returncode == 0, done.stderr
        await until(lambda: server.listed() == ["1.dcm"], "the file is filed")
        assert [file.read_bytes() for file in house.stored] == [(study / "1.dcm").read_bytes()]
        assert server.channel.measured()['pons_sftp_uploads_taken_total{inbound="drop"}'] == 1
        assert house.open_sessions == 0


async def test_a_folder_is_one_study_under_one_session(
    serve: Callable[..., Any], house: Any, study: Path
) -> None:
    async with serve() as server:
        done = await server.sftp(f"put -r {study} input/study.part", "rename input/study.part input/study")
        assert done.returncode == 0, done.stderr
        await until(lambda: server.listed() == ["study"], "the folder is filed")
    assert len(house.stored) == 3
    with house.database.engine.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from studies").scalar() == 1
        assert connection.exec_driver_sql("select count(*) from orders").scalar() == 1


async def test_a_zip_with_a_sidecar_gives_its_order_the_metadata(
    serve: Callable[..., Any], house: Any, study: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as packed:
        for file in [study / f"{number}.dcm" for number in (1, 2, 3)]:
            packed.write(file, file.name)
        packed.writestr("study.json", json.dumps({"accession_number": "A-17"}))
    async with serve() as server:
        for _ in ("first", "again"):
            done = await server.sftp(
                f"put {tmp_path}/study.zip input/study.tmp", "rename input/study.tmp input/study.zip"
            )
            assert done.returncode == 0, done.stderr
            await until(lambda: not any((server.root() / "input").glob("study*")), "the archive is gone")
            await until(lambda: server.listed() == ["study.zip"], "the archive is filed")
        await until(
            lambda: server.channel.measured()['pons_sftp_uploads_taken_total{inbound="drop"}'] == 2, "both"
        )
    assert len(house.stored) == 3
    with house.database.engine.connect() as connection:
        rows = connection.exec_driver_sql("select accession_number, study_instance_uid from orders").all()
    assert [tuple(row) for row in rows] == [("A-17", "1.2.3")]


async def test_what_cannot_be_taken_is_filed_as_failed_beside_a_text_that_says_why(
    serve: Callable[..., Any], house: Any, tmp_path: Path
) -> None:
    (tmp_path / "Doe^Jane.pdf").write_bytes(b"%PDF-1.7 no study at all" * 20)
    async with serve() as server:
        done = await server.sftp(f'put "{tmp_path}/Doe^Jane.pdf" input/')
        assert done.returncode == 0, done.stderr
        await until(lambda: len(server.listed(".failed")) == 2, "it is filed")
        [file, text] = server.listed(".failed")
        assert text == f"{file}.txt"
        why = (server.root() / "input" / ".failed" / text).read_text()
        assert "neither DICOM" in why
        assert "Doe" not in why
        back = await server.sftp(f'get "input/.failed/{text}" {tmp_path}/why.txt')
        assert (back.returncode, (tmp_path / "why.txt").read_text()) == (0, why)
    assert house.stored == []


async def test_an_upload_that_is_cut_off_waits_and_is_resumed(
    serve: Callable[..., Any], house: Any, tmp_path: Path, instance: Callable[..., bytes]
) -> None:
    content = instance(1, bulk=1 << 20)
    (tmp_path / "large.dcm").write_bytes(content)
    async with serve() as server:
        client = await connected(server)
        sftp = await client.start_sftp_client()
        file = await sftp.open("input/large.dcm", "wb")
        await file.write(content[:500_000])
        client.abort()
        await client.wait_closed()
        await until(lambda: not server.channel._connections, "the server notices")
        await asyncio.sleep(3 * QUIET)  # it would have been taken
        assert (server.root() / "input" / "large.dcm").stat().st_size == 500_000
        assert server.listed() == server.listed(".failed") == []

        done = await server.sftp(f"reput {tmp_path}/large.dcm input/large.dcm")
        assert done.returncode == 0, done.stderr
        await until(lambda: server.listed() == ["large.dcm"], "it is filed")
    [stored] = house.stored
    assert stored.read_bytes() == content


async def test_an_upload_that_nobody_resumes_is_refused_in_time(
    serve: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async with serve(resume_within="500ms") as server:
        client = await connected(server)
        file = await (await client.start_sftp_client()).open("input/cut.dcm", "wb")
        await file.write(instance(1)[:300])
        client.abort()
        await client.wait_closed()
        await until(lambda: server.listed(".failed") == ["cut.dcm", "cut.dcm.txt"], "it is refused")
        assert "cut off" in (server.root() / "input" / ".failed" / "cut.dcm.txt").read_text()
    assert house.stored == []


async def test_a_file_that_is_written_slowly_is_not_taken_before_it_is_closed(
    serve: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    content = instance(1)
    async with serve() as server, connected(server) as client, client.start_sftp_client() as sftp:
        async with sftp.open("input/slow.dcm", "wb") as file:
            await file.write(content[:200])
            await asyncio.sleep(3 * QUIET)
            assert house.stored == []
            await file.write(content[200:])
        await until(lambda: server.listed() == ["slow.dcm"], "it is filed")
    assert [one.read_bytes() for one in house.stored] == [content]


async def test_a_mark_says_that_an_upload_is_complete(
    serve: Callable[..., Any], house: Any, study: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    async with serve(quiet="1h") as server:
        done = await server.sftp(f"put {study}/1.dcm input/one", f"put {tmp_path}/empty input/one.done")
        assert done.returncode == 0, done.stderr
        await until(lambda: server.listed() == ["one"], "it is filed")
        assert not (server.root() / "input" / "one.done").exists()
    assert len(house.stored) == 1


async def test_what_lies_there_complete_is_taken_at_the_next_start(
    serve: Callable[..., Any], house: Any, study: Path
) -> None:
    async with serve(quiet="1h") as server:
        assert (await server.sftp(f"put {study}/1.dcm input/")).returncode == 0
        claimed = server.root().parent / "taking" / "before"  # as a kill between two steps leaves it
        claimed.mkdir()
        (claimed / "2.dcm").write_bytes((study / "2.dcm").read_bytes())
    async with serve() as server:
        await until(lambda: server.listed() == ["1.dcm", "2.dcm"], "both are filed")
        assert list((server.root().parent / "taking").iterdir()) == []
    assert len(house.stored) == 2


async def test_the_host_key_is_made_once_and_private(serve: Callable[..., Any], tmp_path: Path) -> None:
    for _ in range(2):
        async with serve() as server:
            assert (await server.sftp("ls")).returncode == 0  # known_hosts would refuse another key
            key = server.data / "sftp" / "drop" / "host_key"
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len((tmp_path / "known_hosts").read_text().splitlines()) >= 1


async def test_a_disk_below_its_watermark_takes_no_bytes(
    serve: Callable[..., Any], house: Any, study: Path
) -> None:
    async with serve() as server:
        house.free[0] = 0
        refused = await server.sftp(f"put {study}/1.dcm input/1.dcm")
        assert refused.returncode != 0
        assert not (server.root() / "input" / "1.dcm").exists()
        house.free[0] = 1 << 40
        await until(lambda: house.intake.is_open, "there is room again")
        assert (await server.sftp(f"put {study}/1.dcm input/1.dcm")).returncode == 0
        await until(lambda: server.listed() == ["1.dcm"], "it is filed")
