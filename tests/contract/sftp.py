"""An SFTP server on asyncssh that treats each attempt as a script says, and keeps what it takes."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh

from tests.contract.peer import Peer


class _Scripted(asyncssh.SFTPServer):
    """Serves a folder; what a file that is opened for writing meets stands in the script."""

    def __init__(self, channel: Any, folder: Path, left: list[str], told: dict[str, list[str]]) -> None:
        super().__init__(channel, chroot=str(folder).encode())
        self._left, self._told = left, told

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if pflags & asyncssh.FXF_WRITE:
            self._told["attempted"].append(_identifier(path))
            match self._left.pop(0) if self._left else "take":
                case "busy":
                    raise asyncssh.SFTPFailure("disk full")
                case "refuse":
                    raise asyncssh.SFTPPermissionDenied("not yours")
                case "stall":
                    await asyncio.sleep(60)
                case "close":
                    self.channel.get_connection().abort()
        return super().open(path, pflags, attrs)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> Any:
        self._told["accepted"].append(_identifier(oldpath))
        return super().posix_rename(oldpath, newpath)


def _identifier(path: bytes) -> str:
    return posixpath.basename(path).decode().removeprefix(".").removesuffix(".part")


class _Door(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True


@asynccontextmanager
async def sftp_push(script: Sequence[str], folder: Path) -> AsyncIterator[Peer]:
    """A hospital's server: one user, one key, its own host key."""
    left, told = list(script), {"attempted": list[str](), "accepted": list[str]()}
    served = folder / "served"
    served.mkdir()
    host, ours = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    (folder / "push.key").write_bytes(ours.export_private_key())
    (folder / "push.key").chmod(0o600)
    line = ours.export_public_key().decode()
    connections: set[asyncssh.SSHServerConnection] = set()

    class Door(_Door):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.add(conn)

    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host],
        server_factory=Door,
        authorized_client_keys=asyncssh.import_authorized_keys(line),
        sftp_factory=lambda channel: _Scripted(channel, served, left, told),
    )
    try:
        yield Peer(
            {
                "type": "sftp_push",
                "host": "127.0.0.1",
                "port": server.get_port(),
                "user": "pons",
                "key": {"file": "push.key"},
                "host_keys": [host.export_public_key().decode().strip()],
                "formats": ["json"],
            },
            lambda: list(told["attempted"]),
            lambda: list(told["accepted"]),
        )
    finally:
        server.close()
        for connection in connections:
            connection.abort()
        await server.wait_closed()
