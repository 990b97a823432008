"""Fixtures for the whole tree: real input, free ports and the peers that nobody here wrote.

The peers themselves live in `tests/peers/` and are loaded as pytest plugins, so any test may ask
for `orthanc`, `storescp`, `hl7_mllp_server`, `fhir_server` or `webhook_receiver` by name.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # a bare `pytest` does not put the checkout on the path
    sys.path.insert(0, str(ROOT))

pytest_plugins = [
    "tests.peers.dcmjs",
    "tests.peers.dcmtk",
    "tests.peers.orthanc",
    "tests.peers.postgres",
    "tests.peers.mllp",
    "tests.peers.fhir",
    "tests.peers.identity_provider",
    "tests.peers.webhook",
    "tests.e2e.engine",
    "tests.e2e.sinks",
    "tests.portal.browser",
    "tests.tunnel.rig",
    "tests.tunnel.changing",
    "tests.tunnel.sealed",
]

REAL_STUDY_ZIP = ROOT.parent / "shared" / "data" / "dti" / "dti-4-slices.zip"
REAL_STUDY_INSTANCES = 260

# What waits longest begins first, so that no worker is left alone with it at the end.
LONGEST_FIRST = (
    *("tunnel", "faults", "e2e", "portal", "docs", "bench"),
    *("examples", "channels/content", "engine"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files for `--dist loadfile`: a file's tests share its fixtures, and so a worker."""
    tests = ROOT / "tests"

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(tests).as_posix()
        found = (number for number, name in enumerate(LONGEST_FIRST) if path.startswith(f"{name}/"))
        return next(found, len(LONGEST_FIRST))

    items.sort(key=place)


# Below the kernel's range for outgoing connections, so nobody is handed the port by chance
# between the moment it is found free and the moment a peer binds it.
# Each worker of a run has a part of them to itself.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = range(20000, 32000)[_WORKER % 8 :: 8]
_handed_out: set[int] = set()


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that finds a TCP port which is free on 127.0.0.1; no port is given twice."""

    def find() -> int:
        for port in random.sample(_PORTS, k=len(_PORTS)):
            if port in _handed_out:
                continue
            with socket.socket() as probe:
                try:
                    probe.bind(("0.0.0.0", port))  # some peers bind every interface
                except OSError:
                    continue
            _handed_out.add(port)
            return port
        pytest.fail("no free TCP port between 20000 and 32000")

    return find


@pytest.fixture(scope="session")
def real_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the 260 MR instances of the real diffusion study; never write into it."""
    if not REAL_STUDY_ZIP.is_file():
        pytest.fail(
            f"the real study is missing: {REAL_STUDY_ZIP.relative_to(ROOT.parent)} beside the checkout"
        )
    folder = tmp_path_factory.mktemp("real-study")
    with zipfile.ZipFile(REAL_STUDY_ZIP) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".dcm"):
                (folder / Path(entry.filename).name).write_bytes(archive.read(entry))
    found = len(list(folder.glob("*.dcm")))
    if found != REAL_STUDY_INSTANCES:
        pytest.fail(f"the real study has {found} instances, not {REAL_STUDY_INSTANCES}")
    return folder
