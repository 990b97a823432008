"""How much memory a very large instance costs the engine, by C-STORE and by STOW-RS.

A multi-frame object of 1 GB (`--short`: 128 MB) goes to a fresh engine by each way. Measured is the
growth of the engine's resident memory from idle to its peak (VmHWM of Linux). Less than 100 MB is
required; the exit code says whether that holds.

    python -m bench.memory [--short]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import httpx
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameGrayscaleWordSecondaryCaptureImageStorage
from rich.console import Console
from rich.table import Table

from engine.model import uid_from

LIMIT = 100  # MB of growth
FRAME = 512 * 512 * 2  # bytes
OUT = Path(__file__).parent / "out" / "memory.json"


def write_object(path: Path, frames: int) -> None:
    """A multi-frame secondary capture, its pixels sparse on disk."""
    dataset = Dataset()
    dataset.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    dataset.SOPInstanceUID = uid_from("bench", "memory", str(frames))
    dataset.StudyInstanceUID = uid_from("bench", "memory", "study")
    dataset.SeriesInstanceUID = uid_from("bench", "memory", "series")
    dataset.Modality = "OT"
    dataset.PatientID, dataset.PatientName = "BENCH", "Bench^Memory"
    dataset.NumberOfFrames = frames
    dataset.Rows = dataset.Columns = 512
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    size = frames * FRAME
    header = buffer.getvalue() + b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_engine(folder: Path) -> Iterator[tuple[int, int, int]]:
    """The engine on a table of its own; its process id, HTTP port and DICOM port."""
    http_port, dicom_port = free_port(), free_port()
    table = {
        "version": 1,
        "engine": {"data": str(folder / "data"), "http": f"127.0.0.1:{http_port}"},
        "assembly": {"stable_after": "10m"},
        "sites": {"bench": {"name": "Bench", "addresses": ["127.0.0.1"], "ae_titles": ["BENCH"]}},
        "inbound": {
            "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}"},
            "web": {"type": "stow_rs"},
        },
        "routes": [{"name": "nothing matched", "otherwise": True, "hold": "no route matched"}],
    }
    path = folder / "routes.yaml"
    path.write_text(yaml.safe_dump(table, sort_keys=False))
    pons = Path(sys.executable).with_name("pons")
    with (folder / "engine.log").open("wb") as log:
        process = subprocess.Popen([pons, "run", "--table", path], stdout=log, stderr=log)
        try:
            _wait_ready(process, f"http://127.0.0.1:{http_port}/readyz", folder / "engine.log")
            yield process.pid, http_port, dicom_port
        finally:
            process.terminate()
            process.wait(60)


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"the engine did not become ready: {log.read_text()[-2000:]}")


def memory(pid: int, field: str) -> float:
    """VmRSS or VmHWM of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def send_c_store(file: Path, _http_port: int, dicom_port: int) -> None:
    """By DCMTK's storescu, which reads the file as it sends it."""
    storescu = shutil.which("storescu")
    if storescu is None:
        raise SystemExit("storescu is missing: install dcmtk")
    command = [
        storescu,
        "-aet",
        "BENCH",
        "-aec",
        "PONS",
        "-pdu",
        "131072",
        "127.0.0.1",
        str(dicom_port),
        str(file),
    ]
    subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": "1"})


def send_stow_rs(file: Path, http_port: int, _dicom_port: int) -> None:
    """By a client that reads the file as it sends it."""

    def body() -> Iterator[bytes]:
        yield b"--frontier\r\nContent-Type: application/dicom\r\n\r\n"
        with file.open("rb") as content:
            while chunk := content.read(1 << 20):
                yield chunk
        yield b"\r\n--frontier--\r\n"

    response = httpx.post(
        f"http://127.0.0.1:{http_port}/dicomweb/studies",
        content=body(),
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=frontier'},
        timeout=600,
        trust_env=False,
    )
    response.raise_for_status()


WAYS: dict[str, Callable[[Path, int, int], None]] = {"c_store": send_c_store, "stow_rs": send_stow_rs}


def measure(way: str, file: Path, folder: Path) -> tuple[float, float]:
    """Growth in MB, and MB/s, of one object by one way into a fresh engine."""
    with running_engine(folder) as (pid, http_port, dicom_port):
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts from here
        idle = memory(pid, "VmRSS")
        began = time.monotonic()
        WAYS[way](file, http_port, dicom_port)
        seconds = time.monotonic() - began
        return memory(pid, "VmHWM") - idle, file.stat().st_size / (1 << 20) / seconds


def main() -> int:
    """Measure both ways; 0 when both stay below the limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--short", action="store_true", help="128 MB instead of 1 GB")
    megabytes = 128 if parser.parse_args().short else 1024
    table = Table("way in", "object MB", "rss MB", "MB/s", title="growth of the engine's memory")
    rows: list[dict[str, str | float]] = []
    growths: list[float] = []
    with tempfile.TemporaryDirectory(prefix="pons-memory-") as scratch:
        file = Path(scratch) / "big.dcm"
        write_object(file, megabytes * (1 << 20) // FRAME)
        for way in WAYS:
            folder = Path(scratch) / way
            folder.mkdir()
            growth, speed = measure(way, file, folder)
            shutil.rmtree(folder)
            table.add_row(way, str(megabytes), f"{growth:.1f}", f"{speed:.0f}")
            growths.append(growth)
            facts: dict[str, str | float] = {"work": "big-1", "subject": "pons", "way": way, "runs": 1}
            rows.append({**facts, "metric": "rss MB", "value": round(growth, 1)})
            rows.append({**facts, "metric": "MB/s", "value": round(speed, 1)})
    Console().print(table)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")
    return int(max(growths) >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
