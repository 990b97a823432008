"""The two receivers that are compared, each a process of its own in a folder of its own.

| subject | what it is | durable when it answers |
|---|---|---|
| `pons` | the whole engine: recorded, attributes extracted, routed | file, name, folder and record |
| `orthanc` | its DICOMweb plug-in, its default: one fdatasync a file | file |
| `orthanc-unsynced` | the same with `SyncStorageArea: false` | no |
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.intake.receivers import Receiver
from tests.e2e.engine import Engine
from tests.peers.orthanc import Orthanc

Start = Callable[[Path, int, int], contextlib.AbstractContextManager["Service"]]


@dataclass(frozen=True, slots=True)
class Service:
    """One STOW-RS service that is up."""

    port: int
    path: str  # of the resource that instances are posted to
    process: Receiver


@contextlib.contextmanager
def pons(folder: Path, http_port: int, dicom_port: int) -> Iterator[Service]:
    """The whole engine on SQLite, as `pons run` starts it."""
    table = {
        "assembly": {"stable_after": "1s"},
        "sites": {"bench": {"name": "Bench", "addresses": ["127.0.0.1"]}},
        "inbound": {"web": {"type": "stow_rs"}},
        "routes": [
            {
                "name": "bench",
                "match": {"series": {"Modality": {"in": ["CT", "MR", "OT"]}}},
                "hold": "measured",
            }
        ],
    }
    engine = Engine(folder / "pons", http_port, dicom_port, table, engine={"log": "json"}).start()
    try:
        yield Service(http_port, "/dicomweb/studies", Receiver(http_port, "", engine.pid))
    finally:
        engine.kill9()


def orthanc(**configuration: object) -> Start:
    """Orthanc, with changes to its configuration."""

    @contextlib.contextmanager
    def start(folder: Path, http_port: int, dicom_port: int) -> Iterator[Service]:
        peer = Orthanc(folder / "orthanc", http_port, dicom_port, "BENCH", {}, {}, configuration)
        try:
            yield Service(http_port, "/dicom-web/studies", Receiver(http_port, "", peer.pid))
        finally:
            peer.stop()

    return start


RECEIVERS: dict[str, Start] = {
    "pons": pons,
    "orthanc": orthanc(),
    "orthanc-unsynced": orthanc(SyncStorageArea=False),
}
