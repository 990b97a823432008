"""OpenSSH's own server on loopback, which knows SFTP and one key; and a line to it that breaks when told."""

from __future__ import annotations

import asyncio
import getpass
import os
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.peers.process import PeerProcess, accepts_connections, binary


def key_pair(file: Path) -> str:
    """Make an ed25519 pair; returns its public line."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", file.name, "-f", str(file)]
    subprocess.run(argv, check=True)
    return file.with_suffix(".pub").read_text().strip()


class OpenSsh:
    """A hospital's server; its user is the one that runs the tests, its files are below ``served``."""

    def __init__(
        self, folder: Path, port: int, *, largest_file: int | None = None, read_only: bool = False
    ) -> None:
        """
        Args:
            largest_file: bytes after which every write fails, as on a disk that is full; any when None.
            read_only: every write is denied.
        """
        folder.mkdir(exist_ok=True)
        self.port = port
        self.user = getpass.getuser()
        self.served = folder / "served"
        self.served.mkdir(exist_ok=True)
        self.key = folder / "client-key"
        if not self.key.exists():
            key_pair(self.key)
        self._folder = folder
        self.largest_file = largest_file
        self.read_only = read_only
        self._process: PeerProcess | None = None
        self.new_host_key()
        self.start()

    def new_host_key(self) -> str:
        """Another one from the next start on; returns its public line."""
        for file in self._folder.glob("host-key*"):
            file.unlink()
        self.host_key = key_pair(self._folder / "host-key")
        return self.host_key

    def start(self) -> None:
        """Serve."""
        config = self._folder / "sshd_config"
        config.write_text(
            f"""
            Port {self.port}
            ListenAddress 127.0.0.1
            HostKey {self._folder / "host-key"}
            PidFile none
            AuthorizedKeysFile {self.key.with_suffix(".pub")}
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password
            MaxStartups 100
            UseDNS no
            Subsystem sftp internal-sftp
            ForceCommand internal-sftp -d {self.served} {"-R" if self.read_only else ""}
            """
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where it parts with its privileges
        run = shlex.join([binary("sshd", "openssh-server"), "-D", "-e", "-f", str(config)])
        if self.largest_file is not None:  # a signal that is ignored becomes an error of the write
            run = f"trap '' XFSZ; ulimit -f {self.largest_file // 512}; exec {run}"
        self._process = PeerProcess("sshd", ["sh", "-c", run], self._folder / "sshd.log")
        self._process.wait_ready(lambda: accepts_connections(self.port))

    @property
    def pid(self) -> int:
        """Of the process that listens."""
        assert self._process is not None
        return self._process.process.pid

    def stop(self) -> None:
        """Serve no more; every session ends."""
        if self._process is not None:
            self._process.kill9()
            self._process = None

    def log(self) -> str:
        """What it has said."""
        return (self._folder / "sshd.log").read_text(errors="replace")


@asynccontextmanager
async def breaking_line(port: int, after: int) -> AsyncIterator[int]:
    """A port of loopback that leads to another one; its first connection breaks after so many bytes."""
    left = [after]
    under_way: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool) -> None:
        while data := await reader.read(65536):
            if counts:
                left[0] -= len(data)
                if left[0] <= 0 < left[0] + len(data):
                    raise ConnectionAbortedError
            writer.write(data)
            await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        tasks = [
            asyncio.create_task(carry(reader, back, counts=True)),
            asyncio.create_task(carry(there, writer, counts=False)),
        ]
        under_way.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in (back, writer):
            one.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
