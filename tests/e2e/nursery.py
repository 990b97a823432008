"""Engines without the cost of their imports: a process that has made them once forks each engine of a run.

Starting Python with all that an engine imports takes longer than most tests of a running engine. What is
forked is a process of its own, in a session of its own, with its own environment, output and working
directory, and it runs `engine.cli.main` as the program `pons` does. The documentation's tests and the benches
start the program itself.

Run as ``python -m tests.e2e.nursery DESCRIPTOR`` it is that process; it ends when the other end of its socket
is closed. Asked over a Unix socket: one message, with the descriptor of the output, is one child; told: its
process id, and later how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

LONGEST = 1 << 17  # bytes of a message: an environment most of all


class Child:
    """One that was forked; what tests use of `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int, argv: Sequence[str]) -> None:
        self.pid = pid
        self.args = list(argv)
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """How it ended, as `subprocess` says it; None while it runs."""
        self._nursery.hear(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = 60.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self._nursery.hear(left)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """A signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """This process's own, begun with the first child."""

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.nursery", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()

    def close(self) -> None:
        """Let it end; children that still run are not its business."""
        self._socket.close()
        self._process.wait(30)

    def start(self, argv: Sequence[str], output: IO[bytes], environment: Mapping[str, str]) -> Child:
        """Fork one that runs `pons` with these arguments; ``argv`` begins with the program's name."""
        asked = json.dumps({"argv": list(argv), "environment": dict(environment), "folder": str(Path.cwd())})
        self._socket.settimeout(60.0)
        socket.send_fds(self._socket, [asked.encode()], [output.fileno()])
        while True:
            told = self._next(120.0)
            if told is None:
                raise RuntimeError(f"the nursery does not answer (ended: {self._process.poll()})")
            if "started" in told:
                child = self._children[told["started"]] = Child(self, told["started"], argv)
                return child

    def hear(self, timeout: float) -> None:
        """Take in how children ended, waiting for the first news up to some seconds."""
        while self._next(timeout) is not None:
            timeout = 0.0

    def _next(self, timeout: float) -> dict[str, int] | None:
        self._socket.settimeout(timeout)
        try:
            message = self._socket.recv(LONGEST)
        except (BlockingIOError, TimeoutError):
            return None
        if not message:
            raise RuntimeError(f"the nursery has ended: {self._process.wait(10)}")
        told: dict[str, int] = json.loads(message)
        if "ended" in told:
            status = told["status"]
            self._children.pop(told["ended"]).returncode = status
        return told


def _preload() -> None:
    """All that an engine may need: its commands, its channels, what they import when they are used."""
    from importlib import import_module
    from importlib.metadata import entry_points

    for module in ("engine.cli", "engine.run", "engine.commands.run", "engine.store.migrations"):
        with contextlib.suppress(ModuleNotFoundError):
            import_module(module)
    for group in ("inbound", "outbound", "export", "batch_export", "processor"):
        for point in entry_points(group=f"pons.{group}"):
            point.load()
    for module in ("uvicorn.protocols.http.httptools_impl", "uvicorn.loops.uvloop", "pydicom.encaps"):
        import_module(module)


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """Fork until the other end is closed; in a child, what it is to run."""
    selector = selectors.DefaultSelector()
    selector.register(asked, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is asked:
                message, descriptors, _, _ = socket.recv_fds(asked, LONGEST, 1)
                if not message:
                    return None
                pid = os.fork()
                if not pid:
                    selector.close()
                    asked.close()
                    return {**json.loads(message), "output": descriptors[0]}
                os.close(descriptors[0])
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                asked.send(json.dumps({"started": pid}).encode())
            else:
                selector.unregister(key.fileobj)
                os.close(key.fd)
                _, status = os.waitpid(key.data, 0)
                ended = {"ended": key.data, "status": os.waitstatus_to_exitcode(status)}
                asked.send(json.dumps(ended).encode())


def _become(child: dict[str, Any]) -> None:
    os.setsid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(child["output"], 1)
    os.dup2(child["output"], 2)
    os.close(nothing)
    os.close(child["output"])
    os.environ.clear()
    os.environ.update(child["environment"])
    os.chdir(child["folder"])
    sys.argv = child["argv"]


if __name__ == "__main__":
    _preload()
    task = _serve(socket.socket(fileno=int(sys.argv[1])))
    if task is not None:
        _become(task)
        from engine.cli import main

        main()
