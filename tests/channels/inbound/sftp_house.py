"""An SFTP channel on a real intake, and OpenSSH's own clients against it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from channels.inbound.sftp import Sftp, SftpSettings
from engine.channel import InboundContext
from engine.clock import SteadyClock
from engine.directory import Directory
from engine.model import Site
from engine.result_files import ResultFiles

SITES = {
    "st-marys": Site("st-marys", "St. Mary's", addresses=("127.0.0.1",), tunnel="127.0.0.1"),
    "northside": Site("northside", "Northside", addresses=("127.0.0.2",)),
    "cloud": Site("cloud", "Cloud"),
}


async def run(*argv: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and occupy no thread of the loop, of which the server has its own use."""
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **environment}
    )
    try:
        async with asyncio.timeout(120):
            out, err = await process.communicate(given.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return subprocess.CompletedProcess(argv, process.returncode or 0, out.decode(), err.decode())


@dataclass
class Server:
    """A channel that listens."""

    channel: Sftp
    port: int
    folder: Path  # of the tests
    keys: dict[str, Path]
    data: Path

    def root(self, site: str = "st-marys") -> Path:
        """What users of a site see as `/`."""
        return self.data / "sftp" / "drop" / site / "files"

    def options(self, key: str, source: str = "127.0.0.1") -> list[str]:
        """Of ssh and sftp: nothing of the user's own, one key."""
        return [
            *("-F", "none", "-i", str(self.keys[key]), "-oIdentitiesOnly=yes", "-oBatchMode=yes"),
            *(f"-oBindAddress={source}", "-oStrictHostKeyChecking=accept-new"),
            f"-oUserKnownHostsFile={self.folder / 'known_hosts'}",
        ]

    async def sftp(
        self, *commands: str, user: str = "stm", key: str = "stm", source: str = "127.0.0.1"
    ) -> subprocess.CompletedProcess[str]:
        """Run OpenSSH's sftp on a batch; it ends at the first command that fails."""
        argv = ["sftp", *self.options(key, source), f"-oPort={self.port}", "-b", "-", f"{user}@127.0.0.1"]
        return await run(*argv, given="\n".join(commands))

    def listed(self, where: str = ".done", site: str = "st-marys") -> list[str]:
        """What the engine has filed there."""
        return sorted(one.name for one in (self.root(site) / "input" / where).iterdir())


@dataclass
class Keys:
    """Key pairs that ssh-keygen made."""

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)

    def make(self, name: str, *options: str) -> str:
        """A new pair; returns the public line."""
        file = self.folder / f"key-{name}"
        argv = ["ssh-keygen", "-q", "-N", "", "-C", name, "-f", str(file), *(options or ("-t", "ed25519"))]
        subprocess.run(argv, check=True)
        self.files[name] = file
        return file.with_suffix(".pub").read_text()


def serving(house: Any, folder: Path) -> Callable[..., Any]:
    """A function: ``async with serve(max_handles=1) as server``."""
    keys = Keys(folder)
    users = {
        "stm": {"site": "st-marys", "keys": [keys.make("stm")]},
        "north": {"site": "northside", "keys": [keys.make("north")]},
    }
    cloud = {"site": "cloud", "any_address": True, "keys": [keys.make("cloud")]}
    keys.make("stranger")

    @asynccontextmanager
    async def serve(*, with_cloud: bool = False, **settings: Any) -> AsyncIterator[Server]:
        named = {**users, "cloud": cloud} if with_cloud else users
        block = SftpSettings(**{"listen": "127.0.0.1:0", "quiet": "300ms", "users": named, **settings})
        formats = entry_points(group="pons.batch_export")
        shelf = ResultFiles(house.database, SteadyClock(), house.data, (), [one.load() for one in formats])
        lent = InboundContext("drop", Directory(SITES), 4 << 20, data=house.data, results=shelf)
        channel = Sftp(block, lent)
        async with channel.listening(house.intake):
            assert channel.address is not None
            yield Server(channel, channel.address[1], folder, keys.files, house.data)

    return serve


async def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something to come true; ends as soon as it does."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110  # what is asked lies in files
            await asyncio.sleep(0.05)
    assert true(), what
