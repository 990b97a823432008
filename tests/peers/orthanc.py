"""Orthanc: a PACS with its own REST interface and the DICOMweb plugin.

It sends from its modality store by C-STORE, posts by STOW-RS, and receives both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.peers.process import PeerProcess, binary, wait_until

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Orthanc:
    """One running Orthanc. ``modalities`` and ``dicomweb_servers`` name whom it can send to."""

    def __init__(
        self,
        folder: Path,
        http_port: int,
        dicom_port: int,
        ae_title: str,
        modalities: Mapping[str, tuple[str, int]],
        dicomweb_servers: Mapping[str, str],
        changes: Mapping[str, object] | None = None,
    ) -> None:
        """``changes`` are made to the configuration."""
        self.http_port = http_port
        self.dicom_port = dicom_port
        self.ae_title = ae_title
        self.dicomweb_url = f"http://127.0.0.1:{http_port}/dicom-web"
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=60, trust_env=False)
        if not PLUGIN.exists():
            pytest.fail("the DICOMweb plugin is not installed: install the package orthanc-dicomweb")
        folder.mkdir(parents=True)
        configuration = {
            "Name": ae_title,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": ae_title,
            "DicomPort": dicom_port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "UnknownSopClassAccepted": True,
            "StableAge": 1,
            "DicomModalities": {
                name: {"AET": aet, "Host": "127.0.0.1", "Port": port}
                for name, (aet, port) in modalities.items()
            },
            "DicomWeb": {
                "Enable": True,
                "Root": "/dicom-web/",
                "Servers": {name: {"Url": url} for name, url in dicomweb_servers.items()},
            },
            **(changes or {}),
        }
        path = folder / "orthanc.json"
        path.write_text(json.dumps(configuration, indent=1))
        self._process = PeerProcess(
            "Orthanc",
            [binary("Orthanc", "orthanc"), str(path)],
            folder / "orthanc.log",
            {"TCP_NODELAY": "1"},  # its DCMTK leaves Nagle's algorithm on unless told
        )
        self._process.wait_ready(self._ready, timeout=60)

    @property
    def pid(self) -> int:
        """Its process, the first of its group."""
        return self._process.process.pid

    def _ready(self) -> bool:
        try:
            return self.client.get("/system").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self.client.close()
        self._process.kill9()  # it takes seconds to leave politely, and its storage is thrown away

    def log(self) -> str:
        """Everything Orthanc said."""
        return self._process.text()

    # ── what it holds ──

    def upload(self, paths: Iterable[Path]) -> list[str]:
        """Import files through REST; Orthanc's own instance identifiers, in order."""
        return [self._json("POST", "/instances", content=path.read_bytes())["ID"] for path in paths]

    def instances(self) -> list[str]:
        """Orthanc's identifiers of all it holds."""
        found: list[str] = self._json("GET", "/instances")
        return found

    def wait_for_instances(self, count: int, timeout: float = 60.0) -> list[str]:
        """Wait until at least ``count`` instances are held."""
        wait_until(lambda: len(self.instances()) >= count, f"{count} instances at Orthanc", timeout)
        return self.instances()

    def file(self, instance: str) -> bytes:
        """The stored DICOM file."""
        answer = self.client.get(f"/instances/{instance}/file")
        answer.raise_for_status()
        return answer.content

    def files(self) -> list[bytes]:
        """Every stored DICOM file."""
        return [self.file(instance) for instance in self.instances()]

    def tags(self, instance: str) -> dict[str, Any]:
        """Its elements by keyword, one value each."""
        found: dict[str, Any] = self._json("GET", f"/instances/{instance}/simplified-tags")
        return found

    # ── what it sends ──

    def store(self, modality: str, instances: Iterable[str], timeout: float = 120.0) -> dict[str, Any]:
        """C-STORE instances to a modality as a job and wait for its end; the job's last state."""
        job = self._json(
            "POST",
            f"/modalities/{modality}/store",
            json={"Resources": list(instances), "Asynchronous": True},
        )
        return self._finished(job["ID"], timeout)

    def stow(self, server: str, instances: Iterable[str], timeout: float = 120.0) -> dict[str, Any]:
        """STOW-RS instances to a DICOMweb server as a job and wait for its end; the job's last state."""
        job = self._json(
            "POST",
            f"/dicom-web/servers/{server}/stow",
            json={"Resources": list(instances), "Synchronous": False},
        )
        return self._finished(job["ID"], timeout)

    def request_commitment(self, modality: str, references: Iterable[tuple[str, str]]) -> str:
        """Ask a modality to commit to instances, SOP Class and SOP Instance UIDs; the transaction UID."""
        asked = self._json(
            "POST",
            f"/modalities/{modality}/storage-commitment",
            json={"DicomInstances": [list(reference) for reference in references]},
        )
        return str(asked["ID"])

    def commitment(self, transaction_uid: str, timeout: float = 60.0) -> dict[str, Any]:
        """The report on a transaction, once it has come."""
        report: dict[str, Any] = {}

        def come() -> bool:
            report.update(self._json("GET", f"/storage-commitment/{transaction_uid}"))
            return report["Status"] != "Pending"

        wait_until(come, f"the report on {transaction_uid} at Orthanc", timeout)
        return report

    def echo(self, modality: str) -> bool:
        """C-ECHO a modality."""
        return self.client.post(f"/modalities/{modality}/echo", json={}).status_code == 200

    def _finished(self, job: str, timeout: float) -> dict[str, Any]:
        state: dict[str, Any] = {}

        def over() -> bool:
            state.update(self._json("GET", f"/jobs/{job}"))
            return state["State"] in {"Success", "Failure"}

        wait_until(over, f"Orthanc's job {job}", timeout)
        return state

    def _json(self, method: str, path: str, **request: Any) -> Any:
        answer = self.client.request(method, path, **request)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture
def orthanc(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., Orthanc]]:
    """Factory: ``orthanc("AET", modalities={"pons": ("PONS", 11112)}, dicomweb_servers={"pons": url})``."""
    running: list[Orthanc] = []

    def make(
        ae_title: str = "ORTHANC",
        *,
        modalities: Mapping[str, tuple[str, int]] | None = None,
        dicomweb_servers: Mapping[str, str] | None = None,
        dicom_port: int | None = None,
    ) -> Orthanc:
        peer = Orthanc(
            tmp_path / f"orthanc-{ae_title}-{len(running)}",
            free_port(),
            dicom_port or free_port(),
            ae_title,
            modalities or {},
            dicomweb_servers or {},
        )
        running.append(peer)
        return peer

    yield make
    for peer in running:
        peer.stop()
