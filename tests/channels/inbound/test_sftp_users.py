"""Certificates as ssh-keygen signs them, keys that are revoked, and users whom a table has no longer."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from channels.inbound.sftp import Sftp, SftpSettings
from engine.channel import InboundContext
from engine.directory import Directory
from engine.errors import ConfigurationError
from tests.channels.inbound.sftp_house import SITES, Server, serving, until

pytestmark = [pytest.mark.sftp, pytest.mark.peers]


@pytest.fixture
def serve(house: Any, tmp_path: Path) -> Callable[..., Any]:
    return serving(house, tmp_path)


class Authority:
    """A hospital's own certificate authority, on ssh-keygen."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._file = folder / name
        self._run("-t", "ed25519", "-N", "", "-f", str(self._file))
        self.line = self._file.with_suffix(".pub").read_text().strip()

    def holder(self, name: str, *options: str, kind: str = "ed25519") -> Path:
        """A new key with a certificate beside it."""
        key = self._folder / f"holder-{name}"
        self._run("-t", kind, "-N", "", "-f", str(key))
        self._run("-s", str(self._file), "-I", name, *options, str(key.with_suffix(".pub")))
        return key

    def _run(self, *arguments: str) -> None:
        subprocess.run(["ssh-keygen", "-q", *arguments], check=True, capture_output=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def users(authority: Authority, **more: Any) -> dict[str, Any]:
    return {"stm": {"site": "st-marys", "certificate_authorities": [authority.line], **more}}


async def sftp(server: Server, key: Path, user: str = "stm") -> subprocess.CompletedProcess[str]:
    server.keys["holder"] = key
    return await server.sftp("ls", user=user, key="holder")


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
async def test_a_certificate_that_names_the_user_lets_it_in(
    serve: Callable[..., Any], authority: Authority, kind: str
) -> None:
    key = await asyncio.to_thread(authority.holder, "ana", "-n", "other,stm", "-V", "+1h", kind=kind)
    async with serve(users=users(authority)) as server:
        done = await sftp(server, key)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("-n", "somebody", "-V", "+1h"),  # it names another user
        ("-V", "+1h"),  # it names nobody
        ("-n", "stm", "-V", "20200101:20200102"),  # its time is over
        ("-n", "stm", "-V", "20400101:20400102"),  # its time is still to come
        ("-n", "stm", "-h"),  # it is of a host
        ("-n", "stm", "-O", "source-address=10.9.9.9"),  # from another address only
    ],
)
async def test_a_certificate_that_does_not_fit_lets_nobody_in(
    serve: Callable[..., Any], house: Any, authority: Authority, options: tuple[str, ...]
) -> None:
    key = await asyncio.to_thread(authority.holder, "ana", *options)
    async with serve(users=users(authority)) as server:
        assert (await sftp(server, key)).returncode == 255


async def test_a_certificate_of_another_authority_or_for_another_user_lets_nobody_in(
    serve: Callable[..., Any], house: Any, authority: Authority, tmp_path: Path
) -> None:
    stranger = await asyncio.to_thread(Authority, tmp_path, "stranger-ca")
    key = await asyncio.to_thread(stranger.holder, "eve", "-n", "stm,north")
    own = await asyncio.to_thread(authority.holder, "ana", "-n", "stm,north")
    north = {"site": "northside", "certificate_authorities": [stranger.line]}
    async with serve(users={**users(authority), "north": north}) as server:
        assert (await sftp(server, key)).returncode == 255
        assert (await sftp(server, own, user="north")).returncode == 255  # that user has another authority
        assert (await sftp(server, own)).returncode == 0
        told = house.intake.strangers.measured()
    assert told == {'pons_peers_turned_away_total{inbound="drop",unknown="key"}': 2}


@pytest.mark.parametrize("what", ["key", "certified key", "authority"])
async def test_what_is_revoked_is_cut_and_lets_nobody_in_again(
    serve: Callable[..., Any], authority: Authority, tmp_path: Path, what: str
) -> None:
    key = await asyncio.to_thread(authority.holder, "ana", "-n", "stm")
    public = key.with_suffix(".pub").read_text()
    if what == "key":
        key.with_name("holder-ana-cert.pub").unlink()
    revoked = tmp_path / "revoked"
    revoked.write_text("# nobody yet\n")
    named = users(authority, keys=[public])
    async with serve(users=named, revoked_keys={"file": str(revoked)}, quiet="1h") as server:
        connection = await asyncssh.connect(
            "127.0.0.1", server.port, username="stm", client_keys=[str(key)], known_hosts=None, config=None
        )
        revoked.write_text(authority.line if what == "authority" else public)
        async with asyncio.timeout(60):
            await connection.wait_closed()
        assert (await sftp(server, key)).returncode == (0 if what == "authority" else 255)
        revoked.unlink()  # nobody knows who is revoked: nobody comes in
        assert (await sftp(server, key)).returncode == 255


async def test_a_user_or_key_that_the_next_table_has_no_longer_is_cut_and_others_stay(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    lines = []
    for name in ("old", "new", "gone"):
        subprocess_keygen(tmp_path / name)
        lines.append((tmp_path / name).with_suffix(".pub").read_text())
    old, new, gone = lines
    before = {
        "stm": {"site": "st-marys", "keys": [old, new]},
        "left": {"site": "st-marys", "keys": [gone]},
    }
    after = {"stm": {"site": "st-marys", "keys": [new]}}
    async with serve(users=before, quiet="1h") as server:

        async def connected(name: str, user: str) -> asyncssh.SSHClientConnection:
            key = [str(tmp_path / name)]
            return await asyncssh.connect(
                "127.0.0.1", server.port, username=user, client_keys=key, known_hosts=None, config=None
            )

        stays = await connected("new", "stm")
        leaving = [await connected("old", "stm"), await connected("gone", "left")]
        await until(lambda: len(server.channel._guests) == 3, "all are in")
        async with serve(users=after, quiet="1h"):
            retiring = asyncio.create_task(server.channel.retire())
            async with asyncio.timeout(60):
                for connection in leaving:
                    await connection.wait_closed()
            async with stays.start_sftp_client() as client:
                assert "input" in await client.listdir("/")
            assert not retiring.done()
            stays.close()
            async with asyncio.timeout(60):
                await retiring


def subprocess_keygen(file: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"users": {"stm": {"site": "st-marys", "certificate_authorities": ["ssh-ed25519 AAAA"]}}}, "key 1"),
        ({"revoked_keys": {"file": "missing"}}, "revoked_keys: secret file missing cannot be read"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(block: dict[str, Any], said: str) -> None:
    settings = SftpSettings.model_validate(block)
    with pytest.raises(ConfigurationError, match=said):
        Sftp(settings, InboundContext("drop", Directory(SITES), 1000))
