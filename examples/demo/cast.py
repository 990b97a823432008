"""Everything that runs in the demo: four loopback peers and the engine, each a process of its own.

Enters: the routing table, whose addresses say where each peer must listen. Leaves: processes that
listen while the cast is entered, each logging to `demo/NAME.log`; all are stopped on the way out.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

PATIENCE = 60.0  # seconds for a process to listen, or to end when asked

PEERS = {  # channel type -> (peer, what it is started with beside its address and folder)
    "dicom_sr": ("pacs", ("--ae-title", "{ae_title}")),
    "dicom_sc": ("pacs", ("--ae-title", "{ae_title}")),
    "dicom_pdf": ("pacs", ("--ae-title", "{ae_title}")),
    "hl7_oru": ("his", ()),
    "fhir_diagnostic_report": ("fhir_server", ()),
    "webhook": ("webhook_receiver", ("--secret-file", "{secret_file}")),
}
FOLDERS = {"pacs": "pacs", "his": "his", "fhir_server": "fhir", "webhook_receiver": "webhook"}


class CastError(Exception):
    """A process cannot start or has ended; the message says which and where its log is."""


class Cast:
    """The peers that the table's destinations need, and the engine on that table."""

    def __init__(self, table: dict[str, Any], path: Path, folder: Path, pons: Path) -> None:
        self.folder = folder
        self.destinations: dict[str, dict[str, Any]] = table["outbound"]
        self.commands: dict[str, list[str]] = {}
        self.listening: dict[str, tuple[str, int]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name, settings in self.destinations.items():
            if settings["type"] not in PEERS:
                raise CastError(f"the demo has no peer for {name}: {settings['type']}")
            self._add_peer(settings)
        listen = [i["listen"] for i in table["inbound"].values() if "listen" in i]
        for number, address in enumerate([table["engine"]["http"], *listen]):
            host, _, port = address.rpartition(":")
            self.listening[f"engine {number}" if number else "engine"] = (host, int(port))
        self.commands["engine"] = [str(pons), "run", "--table", str(path), "--text"]

    def _add_peer(self, settings: dict[str, Any]) -> None:
        peer, extra = PEERS[settings["type"]]
        url = urlsplit(settings.get("url", ""))
        host, port = url.hostname or settings["host"], url.port or settings["port"]
        folder = self.folder / "received" / FOLDERS[peer]
        facts = {**settings, "secret_file": settings.get("secret", {}).get("file", "")}
        module = [sys.executable, "-m", f"examples.peers.{peer}", "--host", host, "--port", str(port)]
        self.commands[peer] = [*module, "--folder", str(folder), *(part.format_map(facts) for part in extra)]
        self.listening[peer] = (host, port)

    @property
    def addresses(self) -> str:
        """Where everything listens, for people."""
        return ", ".join(f"{name} {host}:{port}" for name, (host, port) in self.listening.items())

    def __enter__(self) -> Self:
        for name, (host, port) in self.listening.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    raise CastError(
                        f"{name} cannot listen on {host}:{port}: {error.strerror}; "
                        "stop what uses it or name another port in the table"
                    ) from None
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            for name, command in self.commands.items():
                with (self.folder / f"{name}.log").open("wb") as log:
                    self.processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            for name in self.commands:  # the engine serves HTTP once everything else of it listens
                self._wait_for(name, self.listening[name])
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def check(self) -> None:
        """Raise CastError when a process has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = self.folder / f"{name}.log"
                last = log.read_text(errors="replace").strip().splitlines()[-5:]
                raise CastError("\n".join([f"{name} ended with {process.returncode}; {log} ends:", *last]))

    def watch(self) -> None:
        """Return never; raise CastError when a process ends."""
        while True:
            self.check()
            time.sleep(0.5)

    def _wait_for(self, name: str, address: tuple[str, int]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.check()
            with socket.socket() as probe:
                if probe.connect_ex(address) == 0:
                    return
            time.sleep(0.05)
        raise CastError(f"{name} does not listen on {address[0]}:{address[1]} after {PATIENCE:.0f} s")

    def _stop(self) -> None:
        for process in reversed(self.processes.values()):  # the engine first
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
