"""Starting an example peer as an operator would: `python -m examples.peers.NAME`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once somebody accepts on the port; fail when the process ends before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the peer ended with {process.returncode} before it listened")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nobody listens on port {port}")


@pytest.fixture
def start_peer(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., tuple[int, Path]]]:
    """A function that starts a peer by name and gives its port and the folder it files into."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> tuple[int, Path]:
        port, folder = free_port(), tmp_path / "received" / name
        command = [
            sys.executable,
            "-m",
            f"examples.peers.{name}",
            "--port",
            str(port),
            "--folder",
            str(folder),
        ]
        process = subprocess.Popen([*command, *arguments], cwd=ROOT)
        started.append(process)
        wait_until_listening(port, process)
        return port, folder

    yield start
    for process in started:
        process.terminate()
    codes = [process.wait(timeout=20) for process in started]
    # uvicorn shuts down in order and then lets the signal end the process
    assert set(codes) <= {0, -signal.SIGTERM}, "a peer does not stop quietly on SIGTERM"
