"""The SFTP server and clients of other makers: lftp, curl, paramiko; many at once; a very large file."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from tests.channels.inbound.sftp_house import Server, run, serving, until
from tests.peers.process import binary

pytestmark = [pytest.mark.sftp, pytest.mark.peers]

SESSIONS = 20
LARGE = 2 << 30


@pytest.fixture
def serve(house: Any, tmp_path: Path) -> Callable[..., Any]:
    return serving(house, tmp_path)


@pytest.fixture
def study(tmp_path: Path, instance: Callable[..., bytes]) -> Path:
    """A folder with 16 instances of one study, in two series."""
    for number in range(1, 17):
        file = tmp_path / "study" / f"series{number % 2}" / f"{number}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(instance(number, bulk=100_000))
    return tmp_path / "study"


async def test_lftp_mirrors_with_eight_at_once(
    serve: Callable[..., Any], house: Any, study: Path, tmp_path: Path
) -> None:
    async with serve() as server:
        ssh = " ".join(["ssh", "-a", "-x", *server.options("stm")])
        script = f"""
            set sftp:connect-program "{ssh}"
            set net:max-retries 2
            set cmd:fail-exit yes
            open -u stm, -p {server.port} sftp://127.0.0.1
            mirror -R -P 8 {study} input/study.part
            mv input/study.part input/study
        """
        done = await run(binary("lftp", "lftp"), "--norc", "-c", script, HOME=str(tmp_path))
        assert done.returncode == 0, done.stderr
        await until(lambda: server.listed() == ["study"], "the study is filed")
    assert len(house.stored) == 16


async def test_curl_puts_and_renames_and_gets(
    serve: Callable[..., Any], house: Any, study: Path, tmp_path: Path
) -> None:
    async with serve() as server:
        key = server.keys["stm"]
        curl = ["curl", "-sS", "--insecure", "--key", str(key), "--pubkey", f"{key}.pub", "-u", "stm:"]
        url = f"sftp://127.0.0.1:{server.port}"
        name = "input/one"
        put = ["-T", str(study / "series1" / "1.dcm"), f"{url}/{name}.part"]
        done = await run(*curl, *put, "-Q", f"-rename /{name}.part /{name}.dcm")
        assert done.returncode == 0, done.stderr
        await until(lambda: server.listed() == ["one.dcm"], "it is filed")
        (server.root() / "output" / "report.txt").write_text("a report")
        got = await run(*curl, f"{url}/output/report.txt")
        assert (got.returncode, got.stdout) == (0, "a report")
    assert len(house.stored) == 1


async def test_paramiko_puts_lists_and_is_told_no(serve: Callable[..., Any], house: Any, study: Path) -> None:
    def talk(port: int, key: Path) -> list[str]:
        with paramiko.SSHClient() as client:
            client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
            client.connect(
                "127.0.0.1",
                port,
                "stm",
                pkey=paramiko.Ed25519Key.from_private_key_file(str(key)),
                look_for_keys=False,
                allow_agent=False,
            )
            with client.open_sftp() as sftp:
                sftp.put(str(study / "series1" / "1.dcm"), "input/one.part")
                sftp.posix_rename("input/one.part", "input/one.dcm")
                with pytest.raises(PermissionError):
                    sftp.mkdir("output/mine")
                return sorted(sftp.listdir("/"))

    async with serve() as server:
        assert await asyncio.to_thread(talk, server.port, server.keys["stm"]) == ["input", "output", "status"]
        await until(lambda: server.listed() == ["one.dcm"], "it is filed")
    assert len(house.stored) == 1


async def test_twenty_sessions_at_once_each_end_as_one_study(
    serve: Callable[..., Any], house: Any, tmp_path: Path, instance: Callable[..., bytes]
) -> None:
    for number in range(SESSIONS):
        (tmp_path / f"{number}.dcm").write_bytes(instance(number, study=f"1.2.{number + 1}", bulk=200_000))

    async def one(server: Server, number: int) -> subprocess.CompletedProcess[str]:
        name = f"input/{number}"
        return await server.sftp(f"put {tmp_path}/{number}.dcm {name}.part", f"rename {name}.part {name}.dcm")

    async with serve() as server:
        done = await asyncio.gather(*(one(server, number) for number in range(SESSIONS)))
        assert [each.stderr for each in done if each.returncode] == []
        await until(lambda: len(server.listed()) == SESSIONS, "all are filed")
        assert server.listed(".failed") == []
    with house.database.engine.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from studies").scalar() == SESSIONS


SERVE = """
import asyncio, json, sys
from pathlib import Path
from channels.inbound.sftp import Sftp, SftpSettings
from engine.channel import InboundContext
from engine.clock import SteadyClock
from engine.directory import Directory
from engine.intake import DurableIntake
from engine.model import Site
from engine.spool import Spool
from engine.store.database import SqliteDatabase
from engine.store.migrate import migrate

async def main(data, line):
    database = SqliteDatabase(data / "pons.sqlite")
    migrate(database.engine)
    intake = DurableIntake(Spool(data, max_instance=1 << 20, min_free=0), database, SteadyClock())
    settings = SftpSettings(listen="127.0.0.1:0", users={"stm": {"site": "s", "keys": [line]}}, quiet="1h")
    sites = Directory({"s": Site("s", "S", addresses=("127.0.0.1",))})
    channel = Sftp(settings, InboundContext("drop", sites, 1 << 20, data=data))
    async with channel.listening(intake):
        print(json.dumps(channel.address[1]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    intake.close()
    database.close()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no such process")


async def test_two_gigabytes_take_no_more_memory_than_two_megabytes(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(tmp_path / "key"))
    line = key.export_public_key().decode().strip()
    pipe = asyncio.subprocess.PIPE
    argv = [sys.executable, "-c", SERVE, str(tmp_path / "data"), line]
    server = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe)
    assert server.stdout is not None
    port = json.loads(await server.stdout.readline())
    try:
        connection = await asyncssh.connect(
            "127.0.0.1", port, username="stm", client_keys=[key], known_hosts=None, config=None
        )
        async with connection, connection.start_sftp_client() as sftp:
            async with sftp.open("input/small.bin", "wb", encoding=None) as file:
                await file.write(bytes(2 << 20))
            before = peak(server.pid)
            # A file of 2 GB with holes: what is written lies at both ends, what is read back is all of it.
            async with sftp.open("input/large.bin", "wb", encoding=None) as file:
                await file.write(b"begin", 0)
                await file.write(b"end", LARGE - 3)
            size = (await sftp.stat("input/large.bin")).size
            assert size == LARGE
            async with sftp.open("input/large.bin", "rb", encoding=None) as file:
                for offset in range(0, LARGE, LARGE // 16):
                    assert len(await file.read(1 << 20, offset)) == 1 << 20
            assert peak(server.pid) - before < 64 << 20
        assert (tmp_path / "data/sftp/drop/s/files/input/large.bin").stat().st_size == LARGE
    finally:
        assert server.stdin is not None
        server.stdin.close()
        assert await asyncio.wait_for(server.wait(), 60) == 0
