"""The engine's own parts on a temporary folder: a database, a spool, an intake, small instances."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from sqlalchemy import make_url

from engine.intake import DurableIntake
from engine.model import Arrival, uid_from
from engine.spool import Spool
from engine.store.database import Database, PostgresDatabase, SqliteDatabase
from engine.store.migrate import migrate
from tests.engine.processing_rig import TABLE, Rig
from tests.peers.postgres import Cluster


class HandClock:
    """A clock that moves when the test says so."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = SqliteDatabase(tmp_path / "data" / "pons.sqlite")
    migrate(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def postgres_database(postgres: Cluster) -> Iterator[PostgresDatabase]:
    address = postgres.database()
    opened = PostgresDatabase(make_url(address))
    migrate(opened.engine)
    yield opened
    opened.close()
    postgres.drop(address)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """Either database: whoever asks for it runs once on each."""
    opened: Database = request.getfixturevalue(f"{request.param}_database")
    return opened


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "data", max_instance=20_000_000, min_free=0)


@pytest.fixture
async def intake(spool: Spool, database: Database, clock: HandClock) -> AsyncIterator[DurableIntake]:
    made = DurableIntake(spool, database, clock, keywords=("Modality", "SeriesDescription"))
    yield made
    made.close()


@pytest.fixture
def instance() -> Callable[..., bytes]:
    """A function that makes a small MR instance as a Part 10 file."""

    def make(
        number: int = 1, *, study: str = "a", series: str = "a", sender: str = "X", **extra: object
    ) -> bytes:
        dataset = Dataset()
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = uid_from("test", study, series, str(number))
        dataset.StudyInstanceUID = uid_from("test", study)
        dataset.SeriesInstanceUID = uid_from("test", study, series)
        dataset.Modality = "MR"
        dataset.PatientID = "P-1"
        dataset.PatientName = "Doe^Jane"
        dataset.InstanceNumber = number
        for keyword, value in extra.items():
            setattr(dataset, keyword, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.SourceApplicationEntityTitle = sender
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    return make


@pytest.fixture
def arrive(intake: DurableIntake) -> Callable[..., Arrival]:
    """A function that lands bytes and makes the arrival that a channel would hand over."""

    def make(content: bytes, *, session: str = "s-1", site: str = "st-marys", **announced: str) -> Arrival:
        landing = intake.land()
        landing.write(content)
        return Arrival(
            site=site,
            inbound="pacs",
            session=session,
            landing=landing,
            remote_address="127.0.0.1",
            calling_ae_title="STM_PACS",
            called_ae_title="PONS",
            **announced,
        )

    return make


@pytest.fixture
def rig(tmp_path: Path, database: Database, spool: Spool, clock: HandClock) -> Callable[..., Rig]:
    """A function that makes the stages around a Python program as the processor."""

    def make(program: str, table: str = TABLE) -> Rig:
        (tmp_path / "model.py").write_text(program)
        command = [sys.executable, str(tmp_path / "model.py"), "{in}", "{out}"]
        return Rig(tmp_path, command, database, spool, clock, table)

    return make
