"""Edits from the table to the bytes that leave: to a processor, to an archive, to those who get results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from engine.channel import OutboundContext
from engine.errors import Refused, TryAgain
from engine.intake import DurableIntake
from engine.model import Payload
from engine.rendering import Rendering
from engine.retraction import retract
from engine.store import lanes
from engine.store.lanes import Settlement
from engine.store.tables import deliveries, holds, jobs, results
from tests.engine.processing_rig import HEAD, Rig

TABLE = (
    HEAD
    + """outbound:
  ris: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2575}
  desk: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2576}
  archive: {type: dicom_forward, site: st-marys, host: 127.0.0.1, port: 104, ae_title: ARCHIVE}
  trial: {type: dicom_forward, site: st-marys, host: 127.0.0.1, port: 105, ae_title: TRIAL}
routes:
  - name: mr
    match: {series: {Modality: MR}}
    transform:
      - hash: {keys: [PatientID, PatientName], secret: {file: pseudonyms.key}}
        for: processor
      - set: {StudyDescription: by pons}
        for: forward
      - map: {BodyPartExamined: {table: {SKULL: HEAD}, otherwise: OTHERWISE}}
    process: model
    deliver:
      - archive
      - {to: trial, transform: [{keep: [BodyPartExamined]}]}
      - {to: ris, transform: [{copy: {RequestAttributesSequence.RequestedProcedureID: AccessionNumber}}]}
      - desk
"""
)

SEES = """
import json, pathlib, sys
from pydicom import dcmread
path, *_ = pathlib.Path(sys.argv[1]).rglob("*.dcm")
seen = dcmread(path)
asked = ("PatientID", "PatientName", "StudyDescription", "BodyPartExamined")
text = "; ".join(str(seen.get(one)) for one in asked)
report = {"version": "pons.result/1", "algorithm": {"name": "model", "version": "7"}, "narrative": text}
json.dump(report, open(sys.argv[2] + "/result.json", "w"))
"""


class Journey:
    """A study that is taken in, decided and processed, and what it makes leave."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig, self.data = rig, folder / "data"
        self.rendering = Rendering(rig.database, rig.clock, rig.decider, folder / "data")

    def delivery(self, destination: str) -> Any:
        """The latest delivery to a destination."""
        return [row for row in self.rig.rows(deliveries) if row.destination == destination][-1]

    async def sent(self, destination: str) -> Payload:
        declared = self.rig.table.outbound[destination]
        site = self.rig.table.sites["st-marys"]
        channel = declared.type.build(declared.settings, OutboundContext(destination, site))
        return await self.rendering.payload(channel, self.delivery(destination))

    def edited(self) -> list[Path]:
        """The folders of edited copies that there are."""
        return list((self.data / "payloads").glob("*/edited-*"))

    async def message(self, destination: str) -> dict[str, list[str]]:
        """The first segment of each name in an HL7 message, by its fields."""
        text = (await self.sent(destination)).parts[0].read().decode()
        segments = [one.split("|") for one in text.split("\r") if one]
        return {one[0]: one for one in reversed(segments)}

    async def acknowledged(self, destination: str) -> None:
        """The destination takes what it is sent."""
        now = self.rig.clock.now()
        claims = await self.rig.database.write(
            lambda c: lanes.claim(c, destination, "n1", now, lease=60.0, limit=1)
        )
        await self.rig.database.write(
            lambda c: lanes.settle(c, [Settlement(one, "delivered", "AA") for one in claims], now)
        )


@pytest.fixture
async def journey(
    rig: Callable[..., Rig],
    intake: DurableIntake,
    instance: Callable[..., bytes],
    arrive: Callable[..., Any],
    tmp_path: Path,
) -> Callable[..., Any]:
    """A function that takes in a study and decides it."""

    async def make(otherwise: str = "keep", **attributes: Any) -> Journey:
        (tmp_path / "pseudonyms.key").write_text("a secret\n")
        made = rig(SEES, TABLE.replace("OTHERWISE", otherwise))
        request = Dataset()
        request.RequestedProcedureID = "RIS-7"
        await intake.accept(
            arrive(
                instance(
                    **{"StudyDescription": "head", "BodyPartExamined": "SKULL", "AccessionNumber": "PACS-7"}
                    | {"RequestAttributesSequence": [request]}
                    | attributes
                )
            )
        )
        await made.close()
        return Journey(made, tmp_path)

    return make


async def test_a_processor_sees_a_pseudonym_and_its_result_is_the_patients_own(
    journey: Callable[..., Any],
) -> None:
    made = await journey()
    assert await made.rig.run()
    (row,) = made.rig.rows(results)
    patient, name, description, part = row.document["report"]["narrative"].split("; ")
    assert len({patient, name, "P-1", "Doe^Jane"}) == 4
    assert (description, part) == ("head", "HEAD"), "not what is for the archive only"
    assert row.document["patient"]["patient_id"] == "P-1"
    assert row.document["patient"]["name"]["alphabetic"] == "Doe^Jane"
    message = await made.message("ris")
    assert (message["PID"][3].split("^")[0], message["PID"][5].split("~")[0][:8]) == ("P-1", "Doe^Jane")


async def test_what_is_forwarded_is_edited_by_the_route_and_then_by_its_entry(
    journey: Callable[..., Any],
) -> None:
    made = await journey()
    archived = dcmread((await made.sent("archive")).parts[0].content)
    assert (archived.PatientID, archived.PatientName) == ("P-1", "Doe^Jane")
    assert (archived.StudyDescription, archived.BodyPartExamined) == ("by pons", "HEAD")
    trial = dcmread((await made.sent("trial")).parts[0].content)
    assert (trial.BodyPartExamined, trial.PatientName, "StudyDescription" in trial) == ("HEAD", "", False)
    assert trial.SOPInstanceUID == archived.SOPInstanceUID
    assert len(made.edited()) == 2
    assert (await made.sent("archive")).parts[0].content.is_relative_to(made.data), (
        "a repeat is the same file"
    )
    assert len(made.edited()) == 2
    first, second = (row.transform for row in made.rig.rows(deliveries))
    assert second == [*first, {"keep": ["BodyPartExamined"]}]


async def test_each_destination_is_told_its_own_order_number_from_the_first_word_to_the_last(
    journey: Callable[..., Any],
    intake: DurableIntake,
    instance: Callable[..., bytes],
    arrive: Callable[..., Any],
) -> None:
    made = await journey()
    await made.rig.run()
    told = {name: await made.message(name) for name in ("ris", "desk")}
    assert {name: (one["OBR"][18], one["OBR"][25]) for name, one in told.items()} == {
        "ris": ("RIS-7", "F"),
        "desk": ("PACS-7", "F"),
    }
    for name in told:
        await made.acknowledged(name)
    request = Dataset()
    request.RequestedProcedureID = "RIS-7"
    order = {"AccessionNumber": "PACS-7", "RequestAttributesSequence": [request]}
    await intake.accept(arrive(instance(2, StudyDescription="head", **order)))
    await made.rig.close()
    await made.rig.run()
    corrected = {name: await made.message(name) for name in ("ris", "desk")}
    assert {name: (one["OBR"][18], one["OBR"][25]) for name, one in corrected.items()} == {
        "ris": ("RIS-7", "C"),
        "desk": ("PACS-7", "C"),
    }
    for name in told:
        await made.acknowledged(name)
    latest = made.rig.rows(results)[-1].result_id
    outbound = made.rig.table.outbound
    now = made.rig.clock.now()
    made.rig.database.write_now(lambda c: retract(c, latest, "wrong side", outbound, now, actor="x"))
    taken_back = {name: await made.message(name) for name in ("ris", "desk")}
    assert {name: one["OBR"][18] for name, one in taken_back.items()} == {"ris": "RIS-7", "desk": "PACS-7"}


async def test_an_edit_that_cannot_be_made_holds_the_study_and_refuses_what_is_forwarded(
    journey: Callable[..., Any],
) -> None:
    made = await journey("hold", BodyPartExamined="ELBOW")
    assert await made.rig.run()
    (row,) = made.rig.rows(results)
    assert row.status == "failed"
    (hold,) = made.rig.rows(holds)
    wanted = "transform: the map of BodyPartExamined has no entry for what it holds; add one, then replay"
    assert hold.reason == f"processor model failed: {wanted}"
    with pytest.raises(Refused) as refused:
        await made.sent("archive")
    assert (str(refused.value), refused.value.code) == (wanted, "transform")
    assert made.edited() == [], "nothing half-made is left"
    assert "ELBOW" not in json.dumps(row.document["report"])


async def test_a_secret_that_is_not_there_is_waited_for(journey: Callable[..., Any], tmp_path: Path) -> None:
    made = await journey()
    secret = tmp_path / "pseudonyms.key"
    secret.unlink()
    assert await made.rig.run()
    (job,) = made.rig.rows(jobs)
    assert job.state == "queued"
    assert "pseudonyms.key cannot be read" in job.detail
    secret.write_text("a secret\n")
    made.rig.clock.advance(60)
    assert await made.rig.run()
    assert [row.status for row in made.rig.rows(results)] == ["final"]


async def test_a_delivery_whose_secret_is_not_there_is_tried_again(
    journey: Callable[..., Any], tmp_path: Path
) -> None:
    made = await journey()
    row = made.delivery("archive")
    hashed = [{"hash": {"keys": ["StudyDescription"], "secret": {"file": "absent.key"}}}]
    made.rig.database.write_now(
        lambda c: c.execute(deliveries.update().where(deliveries.c.seq == row.seq).values(transform=hashed))
    )
    with pytest.raises(TryAgain) as again:
        await made.sent("archive")
    assert again.value.code == "transform"
