"""Engine processes as a service manager keeps them: what ends is started again, whoever ended it.

Enter: a table a node. Leave: running processes, their logs, and what ended without being told to.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import yaml

ROOT = Path(__file__).resolve().parents[2]
AGAIN_AFTER = 0.5  # seconds until the service manager starts what has ended


class EngineProcess:
    """One node: its table, its wall clock, and the process of the moment."""

    def __init__(self, folder: Path, table: dict[str, object], http_port: int, secret: str) -> None:
        folder.mkdir(parents=True)
        self.folder, self.document, self.http_port = folder, table, http_port
        self.table, self.log = folder / "routes.yaml", folder / "engine.log"
        self.table.write_text(yaml.safe_dump(table, sort_keys=False))
        self._wall = folder / "wall"
        self._wall.write_text("0")
        self.secret = secret
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self.starts = 0
        self.ended_by_itself: list[int] = []
        self._keeper = threading.Thread(target=self._keep, name=f"keeper of {folder.name}")

    def start(self) -> None:
        """Have it run from now on."""
        self._wanted.set()
        self._keeper.start()

    def signal(self, number: int) -> None:
        """Send a signal to the process of the moment, if there is one."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._process is not None and self._process.poll() is None:
                os.kill(self._process.pid, number)

    def kill9(self) -> None:
        """No chance to tidy up; the service manager starts it again."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                process.kill()
                process.wait()

    def terminate(self, patience: float = 60.0) -> int | None:
        """SIGTERM, wait; what it ended with, None when it had to be killed or was not running."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return None
            process.terminate()
            try:
                status = process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return None
            finally:
                self._process = None
            return status

    def set_wall(self, offset: float) -> None:
        """Make its wall clock wrong by so many seconds."""
        part = self._wall.with_suffix(".part")
        part.write_text(str(offset))
        part.rename(self._wall)

    def ready(self) -> bool:
        """Whether it answers that it takes studies."""
        url = f"http://127.0.0.1:{self.http_port}/readyz"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url, timeout=2, trust_env=False).status_code == 200
        return False

    def wait_ready(self, patience: float = 60.0) -> None:
        """Wait until it takes studies; TimeoutError with the end of its log."""
        wait_for(self.ready, patience, lambda: f"{self.folder.name} is not ready: {self.log_tail()}")

    def stop(self) -> int | None:
        """SIGTERM and no start again; what it ended with."""
        self._stopping.set()
        self._wanted.clear()
        status = self.terminate()
        if self._keeper.ident is not None:
            self._keeper.join(60)
        return status

    def defects(self) -> list[str]:
        """What the log tells of with a stack: the event, the error and where it came from."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        found = []
        for line in lines:
            if '"frames"' in line:
                entry = json.loads(line)
                frame = entry["frames"][-1] if entry["frames"] else ""
                event = entry["event"].partition("\n")[0]
                found.append(f"{event}: {entry.get('error')} at {frame}")
            elif line.startswith("Traceback") or "please report this" in line:
                found.append(line)
        return found

    def log_tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])

    def pons(self, *arguments: str) -> str:
        """What a command says of this node's table."""
        command = [str(Path(sys.executable).with_name("pons")), *arguments, "--table", str(self.table)]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment(), timeout=60)
        return done.stdout + done.stderr

    def _keep(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                if self._process is not None and self._process.poll() is not None:
                    self.ended_by_itself.append(self._process.returncode)
                    self._process = None
                if self._process is None and self._wanted.is_set() and not self._stopping.is_set():
                    self._process = self._start()
            self._stopping.wait(AGAIN_AFTER)

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        command = [sys.executable, "-m", "bench.faults.engine_process"]
        command += ["--table", str(self.table), "--wall", str(self._wall)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOOK_SECRET": self.secret, "COLUMNS": "200"}


def wait_for(condition: Callable[[], bool], patience: float, what: Callable[[], str]) -> None:
    """Poll; TimeoutError that says what was waited for."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what())
        time.sleep(0.1)


FREEZE, THAW = signal.SIGSTOP, signal.SIGCONT
