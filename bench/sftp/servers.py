"""The servers of the bench: ours in a process of its own, and OpenSSH's, each with one key and one folder.

Ours is durable when it answers a close. OpenSSH's is where its client asks for it (`put -f`), so it is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from tests.peers.openssh import OpenSsh, key_pair
from tests.peers.process import PeerProcess, accepts_connections

USER = "bench"


@dataclass(frozen=True)
class Serving:
    """A server that runs."""

    port: int
    user: str
    key: Path
    folder: str  # where its client writes and reads, as it says so
    pid: int


@contextlib.contextmanager
def pons(scratch: Path, port: int) -> Iterator[Serving]:
    """Our server; nothing is taken in meanwhile, so that SFTP alone is measured."""
    line = key_pair(scratch / "key")
    argv = [sys.executable, "-m", "bench.sftp.servers", str(scratch / "data"), str(port), line]
    running = PeerProcess("pons", argv, scratch / "log")
    try:
        running.wait_ready(lambda: accepts_connections(port))
        yield Serving(port, USER, scratch / "key", "input", running.process.pid)
    finally:
        running.stop()


@contextlib.contextmanager
def openssh(scratch: Path, port: int) -> Iterator[Serving]:
    """Theirs."""
    server = OpenSsh(scratch / "openssh", port)
    try:
        yield Serving(port, server.user, server.key, ".", server.pid)
    finally:
        server.stop()


SERVERS: dict[str, Callable[[Path, int], contextlib.AbstractContextManager[Serving]]] = {
    "pons": pons,
    "openssh": openssh,
}


async def _serve(data: Path, port: int, line: str) -> None:
    database = SqliteDatabase(data / "pons.sqlite")
    migrate(database.engine)
    intake = DurableIntake(Spool(data, max_instance=1 << 20, min_free=0), database, SteadyClock())
    block = {
        "listen": f"127.0.0.1:{port}",
        "users": {USER: {"site": "bench", "keys": [line]}},
        "quiet": "1h",
        "status": "none",
    }
    sites = Directory({"bench": Site("bench", "Bench", addresses=("127.0.0.1",))})
    settings = SftpSettings.model_validate(block)
    async with Sftp(settings, InboundContext("drop", sites, 1 << 20, data=data)).listening(intake):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
