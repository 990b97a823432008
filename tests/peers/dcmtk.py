"""DCMTK: `storescu` and `dcmsend` send, `storescp` receives."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.process import PeerProcess, accepts_connections, binary, wait_until

# DCMTK leaves Nagle's algorithm on unless told: small stores then wait for delayed ACKs.
ENVIRONMENT = {"TCP_NODELAY": "1"}


@dataclass(frozen=True)
class Sent:
    """What a sender said of one run."""

    exit_status: int
    output: str
    statuses: dict[str, str]  # file name -> text of the response, "Success" when stored

    @property
    def acknowledged(self) -> list[str]:
        """Names of the files that were answered with success, in order."""
        return [name for name, status in self.statuses.items() if status == "Success"]


def _arguments(program: str, port: int, calling: str, called: str, options: Sequence[str]) -> list[str]:
    return [
        binary(program, "dcmtk"),
        "-v",
        "-aet",
        calling,
        "-aec",
        called,
        *options,
        "127.0.0.1",
        str(port),
    ]


def read_storescu_output(text: str) -> dict[str, str]:
    """File name -> last response status, from the verbose output of storescu."""
    statuses: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        if match := re.match(r"I: Sending file: (.+)$", line):
            current = Path(match[1]).name
        elif match := re.match(r"I: Received Store Response \((.+)\)$", line):
            statuses[current] = match[1]
    return statuses


def storescu(
    port: int,
    files: Sequence[Path],
    *,
    calling: str = "STORESCU",
    called: str = "PONS",
    options: Sequence[str] = (),
    timeout: float = 120.0,
) -> Sent:
    """Send files or folders by C-STORE over one association and report every response."""
    argv = _arguments("storescu", port, calling, called, ["+sd", "+r", *options])
    done = _run([*argv, *map(str, files)], timeout)
    return Sent(done.returncode, done.stdout, read_storescu_output(done.stdout))


def start_storescu(
    port: int, files: Sequence[Path], log: Path, *, calling: str = "STORESCU", called: str = "PONS"
) -> PeerProcess:
    """The same, in the background: its output grows in ``log`` while it sends."""
    argv = _arguments("storescu", port, calling, called, ["+sd", "+r"])
    return PeerProcess("storescu", [*argv, *map(str, files)], log, ENVIRONMENT)


def dcmsend(
    port: int,
    files: Sequence[Path],
    *,
    calling: str = "DCMSEND",
    called: str = "PONS",
    options: Sequence[str] = (),
    timeout: float = 120.0,
) -> Sent:
    """Send files or folders with dcmsend, which decides itself on contexts and associations."""
    argv = _arguments("dcmsend", port, calling, called, ["+sd", "+r", *options])
    done = _run([*argv, *map(str, files)], timeout)
    return Sent(done.returncode, done.stdout, {})


def echoscu(port: int, *, calling: str = "ECHOSCU", called: str = "PONS", timeout: float = 20.0) -> Sent:
    """Verify with C-ECHO."""
    done = _run(_arguments("echoscu", port, calling, called, []), timeout)
    return Sent(done.returncode, done.stdout, {})


def _run(argv: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(argv),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **ENVIRONMENT},
        timeout=timeout,
        check=False,
    )


class Storescp:
    """A storescp that keeps what it receives, bit for bit, in ``folder``."""

    def __init__(self, folder: Path, port: int, ae_title: str, options: Sequence[str]) -> None:
        self.folder = folder
        self.port = port
        self.ae_title = ae_title
        self.options = tuple(options)
        self._process: PeerProcess | None = None

    def start(self) -> Storescp:
        """Bind and serve; may be called again after `stop`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        argv = [
            binary("storescp", "dcmtk"),
            "-v",
            "+B",  # bit-preserving
            "+xa",  # any transfer syntax
            "-dhl",  # no reverse DNS, which may take 15 s
            "--fork",  # several associations at once
            "-aet",
            self.ae_title,
            "-od",
            str(self.folder),
            *self.options,
            str(self.port),
        ]
        log = self.folder.with_suffix(".log")
        self._process = PeerProcess("storescp", argv, log, ENVIRONMENT)
        self._process.wait_ready(lambda: accepts_connections(self.port))
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    @property
    def files(self) -> list[Path]:
        """What was received, by name."""
        return sorted(self.folder.iterdir())

    def wait_for_files(self, count: int, timeout: float = 60.0) -> list[Path]:
        """Wait until at least ``count`` files are there and none is still growing."""

        sizes: dict[Path, int] = {}

        def complete() -> bool:
            before = dict(sizes)
            sizes.clear()
            sizes.update({path: path.stat().st_size for path in self.files})
            return len(sizes) >= count and sizes == before

        wait_until(complete, f"{count} files at storescp {self.ae_title}", timeout)
        return self.files

    def log(self) -> str:
        """Everything storescp said."""
        return self.folder.with_suffix(".log").read_text(errors="replace")


@pytest.fixture
def storescp(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., Storescp]]:
    """Factory: ``storescp(ae_title="STORESCP", options=("--refuse",), port=None, start=True)``."""
    running: list[Storescp] = []

    def make(
        ae_title: str = "STORESCP",
        *,
        options: Sequence[str] = (),
        port: int | None = None,
        start: bool = True,
    ) -> Storescp:
        peer = Storescp(
            tmp_path / f"storescp-{ae_title}-{len(running)}", port or free_port(), ae_title, options
        )
        running.append(peer)
        return peer.start() if start else peer

    yield make
    for peer in running:
        peer.stop()


@pytest.fixture(scope="session")
def real_study_of_dcmtk(
    real_study: Path, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Path:
    """The real study as DCMTK puts it on the wire, in files named by SOP Instance UID; never write into it.

    storescu gives sequences of undefined length an explicit one, so its data sets differ from the
    scanner's files. Sent again by DCMTK these do not change any more: what a receiver keeps of
    them must be equal byte for byte.
    """
    peer = Storescp(tmp_path_factory.mktemp("dcmtk") / "real-study", free_port(), "PEER", ())
    peer.start()
    try:
        sent = storescu(peer.port, [real_study], called="PEER")
        files = peer.wait_for_files(len(sent.statuses))
    finally:
        peer.stop()
    assert len(files) == len(list(real_study.glob("*.dcm"))), sent.output[-2000:]
    for path in files:
        path.rename(path.with_name(path.name.partition(".")[2] + ".dcm"))
    return peer.folder
