"""dcmjs-dimse on Node: it asks for storage commitment and takes the reports."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.peers.process import PeerProcess, binary, wait_until

HERE = Path(__file__).parent
SCRIPT = HERE / "commitment_requester.mjs"


def _argv(*arguments: str) -> list[str]:
    if not (HERE / "node_modules" / "dcmjs-dimse").is_dir():
        pytest.fail(
            "dcmjs-dimse is not installed: run"
            " npm install --no-audit --no-fund --no-package-lock --prefix tests/peers"
        )
    return [binary("node", "nodejs"), str(SCRIPT), *arguments]


def request_commitment(
    port: int,
    transaction_uid: str,
    references: Sequence[tuple[str, str]],
    *,
    calling: str,
    called: str = "PONS",
    linger: float = 0.0,
) -> list[dict[str, Any]]:
    """Ask by N-ACTION, keep the association open for ``linger`` seconds; all that was heard on it."""
    request = {
        "port": port,
        "calling": calling,
        "called": called,
        "transaction": transaction_uid,
        "references": list(references),
        "linger": int(linger * 1000),
    }
    done = subprocess.run(
        _argv("ask", json.dumps(request)), capture_output=True, text=True, timeout=60, check=True
    )
    return _events(done.stdout)


def _events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class ReportListener:
    """Takes reports on associations of the provider."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._process = PeerProcess("dcmjs-dimse", _argv("listen", str(port)), log)
        self._process.wait_ready(lambda: "listening" in self._process.text())

    @property
    def reports(self) -> list[dict[str, Any]]:
        """The reports so far."""
        return [event for event in _events(self._process.text()) if "event" in event]

    @property
    def roles(self) -> list[list[bool | None]]:
        """The roles that its callers proposed: SCU, SCP."""
        return [event["roles"] for event in _events(self._process.text()) if "roles" in event]

    def wait_for_report(self, timeout: float = 60.0) -> dict[str, Any]:
        """The first report."""
        wait_until(lambda: self.reports, "a storage commitment report at dcmjs-dimse", timeout)
        return self.reports[0]

    def stop(self) -> None:
        self._process.stop()


@pytest.fixture
def report_listener(tmp_path: Path) -> Iterator[Callable[[int], ReportListener]]:
    """Factory: ``report_listener(port)``."""
    running: list[ReportListener] = []

    def make(port: int) -> ReportListener:
        running.append(ReportListener(port, tmp_path / f"dcmjs-{len(running)}.log"))
        return running[-1]

    yield make
    for one in running:
        one.stop()
