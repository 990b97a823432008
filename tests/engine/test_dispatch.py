"""What a destination is told of a result that is corrected or taken back, by the engine itself."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import select

from engine.model import Result, ResultStatus, Study
from engine.store.tables import deliveries
from tests.contract.house import House
from tests.contract.scp import Scp, serving
from tests.peers.mllp import MllpServer

REJECTION_NOTE = "1.2.840.10008.5.1.4.1.1.88.59"


class Life(House):
    """A house where one result after the other is made of the same study, each with its status."""

    status = ResultStatus.FINAL
    number = 0
    seen: Study | None = None

    async def study(self) -> Study:
        self.seen = self.seen or await super().study()
        return self.seen

    def result(self, study: Study) -> Result:
        self.number += 1
        named = {"status": self.status, "result_id": str(uuid.UUID(int=self.number)), "revision": self.number}
        return super().result(study).model_copy(update=named)

    async def live(self, status: ResultStatus) -> Any:
        """Make a result with this status, deliver it, and return its delivery."""
        self.status = status
        await self.deliver()
        return self._database.read_now(lambda c: c.execute(LATEST).one())

    async def _settled(self, running: asyncio.Task[None]) -> Any:
        deadline = time.monotonic() + 30
        while (row := self._database.read_now(lambda c: c.execute(LATEST).one())).state == "queued":
            assert not running.done(), running.exception()
            assert time.monotonic() < deadline, f"not settled: {row.reason}"
            await asyncio.sleep(0.02)
        return row


LATEST = select(deliveries).order_by(deliveries.c.seq.desc()).limit(1)


@contextmanager
def life(folder: Path, kind: str, scp: Scp) -> Iterator[Life]:
    opened = Life(folder, {"type": kind, "host": "127.0.0.1", "port": scp.port, "ae_title": "PEER"}, "10s")
    try:
        yield opened
    finally:
        opened.close()


async def test_a_retraction_where_nothing_was_delivered_is_settled_without_a_word(tmp_path: Path) -> None:
    with serving(Scp()) as scp, life(tmp_path, "dicom_sr", scp) as house:
        row = await house.live(ResultStatus.RETRACTED)

    assert (row.state, row.reason, row.payload) == ("delivered", "nothing to send", [])
    assert scp.requests == []


@pytest.mark.parametrize("kind", ["dicom_sr", "dicom_sc", "dicom_pdf"])
async def test_a_retraction_rejects_exactly_what_the_destination_acknowledged(
    tmp_path: Path, kind: str
) -> None:
    with serving(Scp()) as scp, life(tmp_path, kind, scp) as house:
        final = await house.live(ResultStatus.FINAL)
        corrected = await house.live(ResultStatus.CORRECTED)
        retracted = await house.live(ResultStatus.RETRACTED)
        stored = [each.sop_instance_uid for each in scp.stored]

    sent = [part for row in (final, corrected) for part in row.payload]
    [note] = retracted.payload
    document = dcmread(tmp_path / "data" / note["path"])
    [study] = document.CurrentRequestedProcedureEvidenceSequence
    rejected = {
        one.ReferencedSOPInstanceUID: (series.SeriesInstanceUID, one.ReferencedSOPClassUID)
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }

    assert document.SOPClassUID == REJECTION_NOTE
    assert rejected == {
        part["identifier"]: (part["facts"]["series_instance_uid"], part["facts"]["sop_class_uid"])
        for part in sent
    }
    assert stored == [part["identifier"] for part in (*sent, note)]


async def test_a_correction_is_rendered_beside_what_the_destination_holds(
    tmp_path: Path, hl7_mllp_server: Callable[..., MllpServer]
) -> None:
    peer = hl7_mllp_server()
    house = Life(tmp_path, {"type": "hl7_oru", "host": "127.0.0.1", "port": peer.port}, "10s")
    try:
        await house.live(ResultStatus.FINAL)
        await house.live(ResultStatus.CORRECTED)
    finally:
        house.close()

    first, second = (block.decode().split("\r") for block in peer.received)
    assert {one.split("|")[25] for one in first if one.startswith("OBR|")} == {"F"}
    assert {one.split("|")[25] for one in second if one.startswith("OBR|")} == {"C"}
    standing = [one.split("|")[11] for one in second if one.startswith("OBX|")]
    assert standing, "it has observations"
    assert set(standing) == {"F"}, "the same report again: nothing in it changed"
