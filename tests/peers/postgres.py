"""A PostgreSQL of our own: one cluster a test run, one database a test, on loopback and a private port.

PostgreSQL refuses to run as root, so under root its programs run as the user `postgres`.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
QUICK = (  # throw-away data: what a test proves about commits does not need the platters
    "fsync=off",
    "full_page_writes=off",
    "max_connections=300",
    "unix_socket_directories=''",
    "log_min_messages=warning",
)


class Cluster:
    """One running PostgreSQL; the role `pons` may make databases and needs no password."""

    def __init__(self, folder: Path, port: int, settings: tuple[str, ...] = QUICK) -> None:
        self.folder, self.port = folder, port
        self._settings = settings
        self._numbers = itertools.count(1)
        self._user: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            self._user = {"user": account.pw_uid, "group": account.pw_gid}
            os.chown(folder, account.pw_uid, account.pw_gid)
            for parent in folder.parents:  # a private folder of ours: let the server pass through
                if parent.owner() == "root" and not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._data = folder / "data"
        self._run("initdb", "-D", str(self._data), "-U", "pons", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start and wait until it answers."""
        options = " ".join(
            [f"-c {one}" for one in self._settings] + [f"-p {self.port}", "-c listen_addresses=127.0.0.1"]
        )
        self._run(
            "pg_ctl", "-D", str(self._data), "-l", str(self.folder / "log"), "-w", "-o", options, "start"
        )

    def stop(self, mode: str = "immediate") -> None:
        """Stop: `smart`, `fast`, or `immediate`, which is what a crash is."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"pons_{next(self._numbers)}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.address(name)

    def drop(self, address: str) -> None:
        """Remove a database, whoever is still connected."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {address.rpartition('/')[2]} WITH (FORCE)")

    def address(self, name: str) -> str:
        return f"postgresql://pons@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        found = shutil.which(program, path=str(BINARIES[-1])) if BINARIES else None
        if found is None:
            pytest.fail(f"{program} is not installed: install the package postgresql")
        done = subprocess.run(
            [found, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            timeout=120,
            check=False,
            **self._user,
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout!r}"


@pytest.fixture(scope="session")
def postgres(free_port: Callable[[], int]) -> Iterator[Cluster]:
    """The cluster of this test run; ask it for a `database()`."""
    # Not among pytest's own folders: each run closes those to everyone but itself, and under root
    # the server is somebody else.
    with tempfile.TemporaryDirectory(prefix="pons-postgres-") as folder:
        cluster = Cluster(Path(folder), free_port())
        yield cluster
        cluster.stop()
