"""The engine's own way out, with one destination: real store, real rendering, real dispatch.

What stands before it (listeners, processors) is left out: a study arrives through the intake, a
result is recorded as a processor's would be, and what follows is the engine's.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from sqlalchemy import select

from engine import config
from engine.assembly import Assembly, Quiet
from engine.catalog import installed_exports
from engine.channel import OutboundContext
from engine.clock import Clock, SteadyClock
from engine.decide import Decider, enqueue_delivery, lineage
from engine.dispatch import Destination, Dispatch
from engine.intake import DurableIntake
from engine.model import (
    Algorithm,
    Arrival,
    Artefact,
    Code,
    Finding,
    Report,
    Result,
    ResultStatus,
    Study,
    uid_from,
)
from engine.spool import Spool
from engine.store import deliveries, work
from engine.store.database import SqliteDatabase
from engine.store.migrate import migrate
from engine.store.tables import deliveries as delivery_rows
from engine.study_context import read_context

DESTINATION = "under-test"
PATIENT = ("Murphy", "Síle", "P-4711", "19700102", "1970-01-02", "ACC-99", "Knee pain")  # told to nobody
RETRY = {"first": "50ms", "cap": "100ms", "give_up_after": "60s"}


def instance(number: int) -> bytes:
    """A small MR image of a patient whose data no log line and no error text may hold."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = MRImageStorage, uid_from("contract", str(number))
    made.StudyInstanceUID, made.SeriesInstanceUID = uid_from("contract"), uid_from("contract", "series")
    made.Modality, made.StudyDate, made.StudyTime = "MR", "20260102", "101500"
    made.StudyDescription, made.AccessionNumber, made.StudyID = "Knee pain", "ACC-99", "S1"
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientName, made.PatientID = "Murphy^Síle", "P-4711"
    made.PatientBirthDate, made.PatientSex = "19700102", "F"
    made.SeriesNumber, made.InstanceNumber, made.Manufacturer = 1, number, "ACME"
    made.Rows = made.Columns = 4
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.SamplesPerPixel, made.PixelRepresentation = 15, 1, 0
    made.PhotometricInterpretation, made.PixelData = "MONOCHROME2", bytes(32)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def report(folder: Path) -> Report:
    """A report with a number, a text, two pictures and an object that the processor wrote."""
    (folder / "derived.dcm").write_bytes(instance(9))
    artefacts = [Artefact(name="derived.dcm", media_type="application/dicom", path=folder / "derived.dcm")]
    for name in ("montage.png", "graph.png"):
        Image.new("RGB", (32, 24), (40, 80, 120)).save(folder / name)
        artefacts.append(Artefact(name=name, media_type="image/png", title=name, path=folder / name))
    return Report(
        title="Diffusion quality control",
        findings=(
            Finding(
                concept=Code(value="SNR", scheme="99PONS", meaning="Signal to noise ratio"),
                value=Decimal("23.50"),
                unit=Code(value="1", scheme="UCUM", meaning="no units"),
            ),
        ),
        impression="Within protocol.",
        artefacts=tuple(artefacts),
        algorithm=Algorithm(name="contract", version="1.0", manufacturer="Pons"),
    )


@dataclass(frozen=True)
class Outcome:
    """What became of a delivery: its row, its attempts, the identifiers it was rendered with."""

    state: str
    reason: str
    identifiers: list[str]
    attempts: list[Any]

    @property
    def said(self) -> str:
        """All that an operator could read of it."""
        return " ".join(
            [self.reason, *(f"{each.code} {each.detail} {each.warning}" for each in self.attempts)]
        )


class House:
    """An engine with the destination ``under-test`` and one stable study."""

    def __init__(
        self, folder: Path, block: Mapping[str, Any], timeout: str, clock: Clock | None = None
    ) -> None:
        self.folder = folder
        self._clock = clock or SteadyClock()
        self.table = config.load(self._write_table(block, timeout))
        data = self.table.engine.data.absolute()
        self._spool = Spool(data, max_instance=10_000_000, min_free=0)
        self._database = SqliteDatabase(data / "pons.sqlite")
        migrate(self._database.engine)
        self._decider = Decider(self._database, self._spool, self._clock, self.table, lambda: None)
        self.declared = self.table.outbound[DESTINATION]
        self.site = self.table.sites["st-marys"]
        self.channel = self.declared.type.build(
            self.declared.settings, OutboundContext(DESTINATION, self.site, exports=installed_exports)
        )
        self._data = data

    @property
    def database(self) -> SqliteDatabase:
        """Where it keeps its records."""
        return self._database

    def close(self) -> None:
        self._database.close()

    def _write_table(self, block: Mapping[str, Any], timeout: str) -> Path:
        common = {"site": "st-marys", "retry": RETRY, "timeout": timeout}
        document = {
            "version": 1,
            "engine": {"data": "./data"},
            "sites": {
                "st-marys": {"name": "St. Mary's", "ae_titles": ["STM_PACS"], "addresses": ["127.0.0.1"]}
            },
            "inbound": {"web": {"type": "stow_rs"}},
            "processors": {"judge": {"type": "quality_control"}},
            "outbound": {DESTINATION: {**common, **block}},
            "routes": [
                {"name": "all", "match": {"site": "st-marys"}, "process": "judge", "deliver": [DESTINATION]}
            ],
        }
        path = self.folder / "routes.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    async def study(self) -> Study:
        """Two instances arrive and are closed as a revision; deliveries of the study are queued by that."""
        intake = DurableIntake(self._spool, self._database, self._clock, keywords=self.table.keywords())
        for number in (1, 2):
            landing = intake.land()
            landing.write(instance(number))
            await intake.accept(Arrival("st-marys", "web", "s-1", landing, "127.0.0.1", "STM_PACS", "PONS"))
        intake.leave("s-1")
        intake.close()
        quiet = Quiet(stable_after=0, force_after=0, on_late="rerun")
        closed = Assembly(self._database, intake.sessions, self._clock, quiet, on_closed=lambda: None)
        assert await closed.close_stable() == 1
        study = await self._decider.facts(1, 1)
        await self._decider.decide_closed()
        return study

    def result(self, study: Study) -> Result:
        """A final result on that study."""
        context = read_context(study.stored, self.site, study.revision)
        return Result(
            result_id=str(uuid.UUID(int=7)),
            site="st-marys",
            route="all",
            status=ResultStatus.FINAL,
            produced_at=datetime(2026, 1, 2, 11, 0, tzinfo=UTC),
            patient=context.patient,
            order=context.order,
            study=context.study,
            report=report(self.folder),
        )

    async def deliver(self) -> Outcome:
        """Queue what the destination carries and dispatch until it is settled."""
        study = await self.study()
        if self.declared.type.carries == "result":
            await self.queue(study, self.result(study))
        async with self.dispatching() as running:
            return await self._settled(running)

    @asynccontextmanager
    async def dispatching(self) -> AsyncIterator[asyncio.Task[None]]:
        """What is queued goes out meanwhile."""
        dispatch = Dispatch(
            self._database,
            self._clock,
            self._decider,
            {DESTINATION: Destination(self.declared, self.channel)},
            data=self._data,
            node="contract",
        )
        running = asyncio.create_task(dispatch.run())
        try:
            yield running
        finally:
            dispatch.drain()
            await running

    async def queue(self, study: Study, result: Result) -> None:
        """Record a result, as a processor's run does, with its delivery."""
        await self._database.write(lambda c: self._queue_result(c, study, result))

    def _queue_result(self, connection: Any, study: Study, result: Result) -> None:
        told = lineage(1, "judge/all")
        work.record_result(
            connection,
            result_id=result.result_id,
            study_id=1,
            study_revision=1,
            lineage=told,
            revision=result.revision,
            status=result.status.value,
            supersedes=result.supersedes,
            shadow=False,
            produced_at=self._clock.now(),
            document=result.model_dump(mode="json"),
        )
        enqueue_delivery(
            connection,
            self._clock.now(),
            study=study,
            study_id=1,
            destination=self.declared,
            after=(),
            lineage=told,
            transform=(),
            result_id=result.result_id,
            status=result.status.value,
        )

    async def _settled(self, running: asyncio.Task[None]) -> Outcome:
        deadline = time.monotonic() + 30
        while True:
            row = self._database.read_now(lambda c: c.execute(select(delivery_rows)).one())
            if row.state != "queued":
                break
            assert not running.done(), running.exception()
            assert time.monotonic() < deadline, f"not settled: {row.reason}"
            await asyncio.sleep(0.02)
        attempts = self._database.read_now(lambda c: deliveries.attempts_of(c, row.delivery_id))
        return Outcome(row.state, row.reason, [part["identifier"] for part in row.payload], list(attempts))
