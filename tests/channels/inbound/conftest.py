"""The ways in on the engine's real intake, in a temporary folder, on loopback sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from starlette.applications import Starlette

from channels.inbound.c_store import CHANNEL, CStore, CStoreSettings
from channels.inbound.stow_rs import StowRs, StowRsSettings
from engine.channel import InboundContext
from engine.clock import SteadyClock
from engine.directory import Directory
from engine.intake import DurableIntake
from engine.model import Site
from engine.spool import Spool
from engine.store.database import Database, SqliteDatabase
from engine.store.migrate import migrate
from engine.web import serving
from engine.workers.assignment import Premises
from engine.workers.crew import Crew

MAX_INSTANCE = 4 << 20

SITES = {
    # by AE title and address
    "st-marys": Site("st-marys", "St. Mary's", ae_titles=("STM_PACS", "STORESCU"), addresses=("127.0.0.1",)),
    # by address alone: nothing that speaks DICOM
    "web-only": Site("web-only", "Web only", addresses=("127.0.0.2",)),
}


@dataclass
class House:
    """One intake and what stands behind it."""

    data: Path
    spool: Spool
    database: Database
    intake: DurableIntake
    free: list[int] = field(default_factory=lambda: [1 << 40])  # bytes the disk claims to have free

    @property
    def stored(self) -> list[Path]:
        """Files of instances, by name."""
        return sorted((self.data / "instances").rglob("*.dcm"))

    @property
    def landing(self) -> list[Path]:
        """What is on its way in."""
        return [path for path in (self.data / "landing").rglob("*") if path.is_file()]

    @property
    def open_sessions(self) -> int:
        """Associations and requests that hold a study open."""
        return len(self.intake.sessions._studies)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    data = tmp_path / "data"
    free = [1 << 40]
    spool = Spool(data, max_instance=MAX_INSTANCE, min_free=1 << 20, free_space=lambda _path: free[0])
    database = SqliteDatabase(data / "pons.sqlite")
    migrate(database.engine)
    intake = DurableIntake(spool, database, SteadyClock(), keywords=("Modality",), keep_versions=False)
    yield House(data, spool, database, intake, free)
    intake.close()
    database.close()


@pytest.fixture
def processes(request: pytest.FixtureRequest) -> int:
    """How many processes receive; `EITHER_WAY` runs a test in the engine's own and in two workers."""
    return int(getattr(request, "param", 1))


EITHER_WAY = pytest.mark.parametrize("processes", [1, 2], indirect=True, ids=["one", "workers"])


@pytest.fixture
def listening(house: House, processes: int) -> Callable[..., AbstractAsyncContextManager[int]]:
    """A function: ``async with listening(max_associations=1) as port``."""

    @asynccontextmanager
    async def listen(**settings: Any) -> AsyncIterator[int]:
        block = CStoreSettings(**{"listen": "127.0.0.1:0", **settings})
        lent = InboundContext("pacs", Directory(SITES), MAX_INSTANCE)
        channel: CStore | Crew = CStore(block, lent)
        if processes > 1:
            channel = Crew(CHANNEL, block, lent, Premises(processes, house.data, MAX_INSTANCE, 1 << 20))
        async with channel.listening(house.intake):
            assert channel.address is not None
            yield channel.address[1]

    return listen


@pytest.fixture
def posting(house: House) -> Callable[..., AbstractAsyncContextManager[str]]:
    """A function: ``async with posting(max_parts=2) as url``; the URL ends before `/studies`."""

    @asynccontextmanager
    async def listen(**settings: Any) -> AsyncIterator[str]:
        channel = StowRs(StowRsSettings(**settings), InboundContext("web", Directory(SITES), MAX_INSTANCE))
        app = Starlette(routes=list(channel.routes(house.intake)))
        async with serving(app, "127.0.0.1:0") as port:
            yield f"http://127.0.0.1:{port}/dicomweb"

    return listen


@pytest.fixture
def instance() -> Callable[..., bytes]:
    """A function that makes a small MR instance as a Part 10 file."""

    def make(number: int = 1, *, study: str = "1.2.3", bulk: int = 0, **elements: Any) -> bytes:
        dataset = Dataset()
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = f"{study}.1.{number}"
        dataset.StudyInstanceUID = study
        dataset.SeriesInstanceUID = f"{study}.1"
        dataset.Modality = "MR"
        dataset.PatientID = "P-1"
        dataset.PatientName = "Doe^Jane"
        dataset.InstanceNumber = number
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        if bulk:
            dataset.EncapsulatedDocument = b"x" * bulk
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    return make


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """A coroutine function that waits until a condition holds, 30 s at most."""

    async def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in 30 s"
            await asyncio.sleep(0.01)

    return wait
