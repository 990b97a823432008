"""Who may come in by SFTP and what they can reach: wrong keys, other sites, escapes, limits."""

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
from engine.model import Site
from tests.channels.inbound.sftp_house import SITES, Server, serving, until

pytestmark = [pytest.mark.sftp, pytest.mark.peers]


@pytest.fixture
def serve(house: Any, tmp_path: Path) -> Callable[..., Any]:
    return serving(house, tmp_path)


@pytest.fixture
def knocks(house: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Who was turned away: what did not fit, and the address."""
    told: list[tuple[str, str]] = []
    before = house.intake.turned_away

    def turned_away(inbound: str, unknown: str, address: str, calling: str, called: str) -> None:
        told.append((unknown, address))
        before(inbound, unknown, address, calling, called)

    monkeypatch.setattr(house.intake, "turned_away", turned_away)
    return told


@pytest.mark.parametrize(
    ("user", "key", "source", "what"),
    [
        ("stm", "stranger", "127.0.0.1", "key"),  # a key that is nobody's
        ("nobody", "stm", "127.0.0.1", "key"),  # no such user
        ("stm", "north", "127.0.0.1", "key"),  # another user's key
        ("stm", "stm", "127.0.0.2", "site"),  # the right key, from the address of another site
        ("north", "north", "127.0.0.1", "site"),
        ("stm", "stm", "127.0.0.3", "address"),  # an address of no site
    ],
)
async def test_who_does_not_fit_is_refused_and_on_the_trail(
    serve: Callable[..., Any],
    house: Any,
    knocks: list[tuple[str, str]],
    user: str,
    key: str,
    source: str,
    what: str,
) -> None:
    async with serve() as server:
        refused = await server.sftp("ls", user=user, key=key, source=source)
        assert refused.returncode == 255
        await until(lambda: bool(knocks), "it is told")
        assert knocks == [(what, source)]
        [(name, times)] = house.intake.strangers.measured().items()
        assert (name, times) == (f'pons_peers_turned_away_total{{inbound="drop",unknown="{what}"}}', 1)


async def test_each_site_sees_its_own_root(serve: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    async with serve(quiet="1h") as server:
        assert (await server.sftp(f"put {tmp_path}/mine input/mine")).returncode == 0
        other = await server.sftp("ls input", user="north", key="north", source="127.0.0.2")
        assert (other.returncode, "mine" in other.stdout) == (0, False)


async def test_a_user_of_a_site_without_an_address_comes_in_where_the_table_says_so(
    serve: Callable[..., Any], knocks: list[tuple[str, str]]
) -> None:
    async with serve(with_cloud=True) as server:
        assert (await server.sftp("ls", user="cloud", key="cloud", source="127.0.0.9")).returncode == 0
        refused = await server.sftp("ls", user="cloud", key="cloud", source="127.0.0.1")
        assert refused.returncode == 255  # that address is another site's
        assert knocks == [("site", "127.0.0.1")]


async def test_there_is_no_shell_no_command_no_way_through_and_no_password(serve: Callable[..., Any]) -> None:
    async with serve() as server:
        ssh = ["ssh", *server.options("stm"), f"-oPort={server.port}"]

        async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(
                subprocess.run, [*ssh, *arguments], capture_output=True, text=True, timeout=60, input=""
            )

        assert (await run("stm@127.0.0.1", "id")).returncode != 0
        assert (await run("stm@127.0.0.1")).returncode != 0
        through = await run("-W", f"127.0.0.1:{server.port}", "stm@127.0.0.1")
        assert (through.returncode, through.stdout) == (255, "")
        asked = await run("-oPubkeyAuthentication=no", "-v", "stm@127.0.0.1")
        assert "Authentications that can continue: publickey\n" in asked.stderr.replace("\r", "")


@pytest.mark.parametrize(
    "command",
    [
        "put {file} ../../../../../tmp/escape",
        "put {file} /etc/escape",
        "put {file} /escape",
        "put {file} output/escape",
        "put {file} input/../status/escape",
        "put {file} input/.done/escape",
        "mkdir output/escape",
        "ln -s /etc input/escape",
        "ln input/held input/escape",
        "rename input/held output/escape",
        "rm /etc/passwd",
        "rmdir input",
        "get /etc/passwd {folder}/escape",
        "get input/link/secret {folder}/escape",
        "get input/linked {folder}/escape",
        "put {file} input/link/escape",
        "put {file} input/linked",
    ],
)
async def test_no_path_leads_out(serve: Callable[..., Any], tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_bytes(b"file")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    async with serve(quiet="1h") as server:
        (server.root() / "input" / "held").write_bytes(b"held")
        (server.root() / "input" / "link").symlink_to(outside)
        (server.root() / "input" / "linked").symlink_to(outside / "secret")
        before = sorted(server.root().rglob("*"))
        done = await server.sftp(command.format(file=tmp_path / "file", folder=tmp_path))
        assert done.returncode != 0
        assert sorted(server.root().rglob("*")) == before
    assert [one.name for one in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert not (tmp_path / "escape").exists() or (tmp_path / "escape").stat().st_size == 0


async def test_one_wrong_key_before_the_right_one_is_nobody_turned_away(
    serve: Callable[..., Any], knocks: list[tuple[str, str]]
) -> None:
    async with serve() as server:
        keys = [str(server.keys[name]) for name in ("stranger", "north", "stm")]
        async with asyncssh.connect(
            "127.0.0.1", server.port, username="stm", client_keys=keys, known_hosts=None, config=None
        ) as connection:
            assert connection.get_extra_info("username") == "stm"
        await until(lambda: not server.channel._connections, "it is over")
    assert knocks == []


async def test_a_channel_that_retires_serves_who_is_there_and_nobody_new(serve: Callable[..., Any]) -> None:
    async with serve(quiet="1h") as server:
        async with client(server) as connection, connection.start_sftp_client() as sftp:
            retiring = asyncio.create_task(server.channel.retire())
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
            async with sftp.open("input/late", "wb") as file:
                await file.write(b"late")
            assert not retiring.done()
        async with asyncio.timeout(60):
            await retiring
        assert (server.root() / "input" / "late").read_bytes() == b"late"


def client(server: Server, source: str = "127.0.0.1") -> Any:
    return asyncssh.connect(
        "127.0.0.1",
        server.port,
        username="stm",
        client_keys=[str(server.keys["stm"])],
        known_hosts=None,
        config=None,
        local_addr=(source, 0),
    )


async def test_limits_of_files_bytes_handles_and_sessions(serve: Callable[..., Any]) -> None:
    async with (
        serve(quiet="1h", max_waiting=1000, max_files=2, max_handles=2, max_sessions=1) as server,
        client(server) as connection,
        connection.start_sftp_client() as sftp,
    ):
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.start_sftp_client()
        first, second = await sftp.open("input/a", "wb"), await sftp.open("input/b", "wb")
        with pytest.raises(asyncssh.SFTPFailure, match="2 files are open"):
            await sftp.open("input/a", "rb")
        await first.write(b"x" * 900)
        with pytest.raises(asyncssh.SFTPError, match="wait to be taken in"):
            await second.write(b"x" * 101)
        await first.close()
        with pytest.raises(asyncssh.SFTPError, match="wait to be taken in"):
            await sftp.open("input/c", "wb")
        await second.close()
        await sftp.remove("input/a")
        assert server.channel.measured()['pons_sftp_waiting_bytes{inbound="drop",site="st-marys"}'] == 0
        async with sftp.open("input/c", "wb") as third:
            await third.write(b"x" * 1000)


async def test_limits_of_connections(serve: Callable[..., Any]) -> None:
    async with serve(max_connections_per_address=2, max_connections_per_site=1) as server:
        async with client(server):
            with pytest.raises((asyncssh.Error, OSError)):
                async with client(server) as second:
                    await second.start_sftp_client()
        await until(lambda: not server.channel._connections, "the places are free again")
        async with client(server) as again:
            assert again.get_extra_info("username") == "stm"


async def test_a_connection_that_shows_no_key_is_closed_in_time(serve: Callable[..., Any]) -> None:
    async with serve(login_timeout="500ms") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(30):
            assert (await reader.read()).startswith(b"SSH-2.0-Pons")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"site": "nowhere", "keys": ["ssh-ed25519 AAAA"]}, "there is no site 'nowhere'"),
        ({"site": "st-marys"}, "has no key"),
        ({"site": "st-marys", "keys": ["ssh-ed25519 AAAA"]}, "users.stm.keys, key 1: not a public key"),
        (
            {"site": "st-marys", "authorized_keys": {"file": "missing.pub"}},
            "users.stm.authorized_keys: secret file missing.pub cannot be read",
        ),
        ({"site": "st-marys", "any_address": True, "keys": ["ssh-ed25519 AAAA"]}, "has a tunnel"),
    ],
)
def test_users_that_cannot_be_are_told_with_their_place(user: dict[str, Any], said: str) -> None:
    settings = SftpSettings.model_validate({"users": {"stm": user}})
    with pytest.raises(ConfigurationError, match=said):
        Sftp(settings, InboundContext("drop", Directory(SITES), 1000))


@pytest.mark.parametrize(
    ("options", "said"),
    [(("-t", "rsa", "-b", "1024"), "1024 bits"), (("-t", "rsa", "-b", "2048"), ""), (("-t", "ecdsa"), "")],
)
def test_keys_that_are_too_short_are_not_taken(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", str(file), *options], check=True)
    line = file.with_suffix(".pub").read_text()
    settings = SftpSettings.model_validate({"users": {"stm": {"site": "a", "keys": [line]}}})
    context = InboundContext("drop", Directory({"a": Site("a", "A")}), 1000)
    if said:
        with pytest.raises(ConfigurationError, match=said):
            Sftp(settings, context)
    else:
        Sftp(settings, context)
        assert settings.users["stm"].keys == (line,)


def test_a_private_key_among_the_public_ones_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    private = file.read_text()
    settings = SftpSettings.model_validate({"users": {"stm": {"site": "st-marys", "keys": [private]}}})
    with pytest.raises(ConfigurationError, match="private key") as told:
        Sftp(settings, InboundContext("drop", Directory(SITES), 1000))
    assert private.splitlines()[1] not in str(told.value)
