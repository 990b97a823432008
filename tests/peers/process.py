"""Start a peer as a process of its own, wait until it serves, end it by its own id.

Every peer binds an ephemeral port, writes its output to a file beside its data, and is ended by
the process that started it. A missing binary is a failure, never a skip.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest


def binary(name: str, package: str) -> str:
    """Path of an installed program; the test fails and names the package when it is missing.

    Programs of our own environment are passed over: pynetdicom has a `storescu`, too.
    """
    ours = Path(sys.executable).parent.resolve()
    folders = [one for one in os.get_exec_path() if Path(one).resolve() != ours]
    found = shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        pytest.fail(f"{name} is not installed: install the package {package}")
    return found


def wait_until(
    condition: Callable[[], object], what: str, timeout: float = 20.0, every: float = 0.05
) -> object:
    """Poll until ``condition`` is true and return its value; fail with ``what`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:g} s in vain for {what}; last seen: {value!r}")
        time.sleep(every)


def accepts_connections(port: int) -> bool:
    """Whether something listens on 127.0.0.1:``port``."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class PeerProcess:
    """A running program with its output in ``log``."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._output = log.open("ab")
        self.process = self.begin(list(argv), {**os.environ, **(env or {})})

    def begin(self, argv: Sequence[str], environment: Mapping[str, str]) -> Any:
        """Its process, in a session of its own: what it forks is in the same group and ends with it."""
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def text(self) -> str:
        """All it has said so far."""
        return self.log.read_text(errors="replace")

    def wait_ready(self, ready: Callable[[], object], timeout: float = 30.0) -> None:
        """Wait until ``ready`` holds; fail with the log's end when the program ends or is too slow."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.alive:
                pytest.fail(f"{self.name} ended with {self.process.returncode}: {self.text()[-2000:]}")
            if time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"{self.name} was not ready after {timeout:g} s: {self.text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, then SIGKILL to what is left of its own group; returns the exit status."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._kill_group()
        self._kill_group()
        status = self.process.wait(timeout)
        self._output.close()
        return status

    def kill9(self) -> None:
        """SIGKILL to the program and what it forked: no chance to tidy up."""
        self._kill_group()
        self.process.wait(10)
        self._output.close()

    def _kill_group(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
